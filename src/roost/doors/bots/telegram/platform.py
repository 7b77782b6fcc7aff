"""A bot at Telegram."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from roost.doors.bots.platform import (
    Address,
    Failed,
    Heard,
    Limits,
    Malformed,
    OutFile,
    Outgoing,
    Refused,
    Take,
    Written,
    number,
)
from roost.doors.bots.rich_text import Rich, utf16
from roost.doors.bots.telegram.bot_api import URL, BotApi
from roost.doors.bots.telegram.updates import KINDS, Read, UpdateReader, User
from roost.errors import ConfigError
from roost.features.bots.bots_file import Bot

_TEXT = 4096
_POLL_SECONDS = 50
_WHOLE_SECONDS = 1 / 25
"""Telegram takes 30 messages a second of one bot."""
_FILE, _PHOTO = 50_000_000, 10_000_000
_PHOTOS = ("image/jpeg", "image/png", "image/webp")
_ALBUM_SECONDS, _ALBUM_LOOKS = 0.4, 5
"""The parts of an album come one after the other: wait so long for the next one, so often at most."""
_ENTITIES = {
    "bold": "bold",
    "italic": "italic",
    "strike": "strikethrough",
    "code": "code",
    "pre": "pre",
    "link": "text_link",
    "quote": "blockquote",
}
_SECRET = b"x-telegram-bot-api-secret-token"
_ENTITIES_MOST = 100


class Telegram:
    """Speaks the Bot API. Updates come by long polling, or by a webhook if the bot has an address for it."""

    def __init__(self, bot: Bot, token: str, hook_secret: str = "") -> None:
        if not token:
            raise ConfigError(f"bots.{bot.name}: a Telegram bot needs a token: ask @BotFather, then name the secret")
        known = {"api", "poll_seconds", "pace_seconds", "edit_seconds"}
        if extra := set(bot.options) - known:
            raise ConfigError(f"bots.{bot.name}: a Telegram bot has no {min(extra)!r}")
        self._bot, self._hook_secret = bot, hook_secret
        self._api = BotApi(token, str(bot.options.get("api", URL)))
        if bot.hook is not None and not hook_secret:
            raise ConfigError(f"bots.{bot.name}: hook: name a hook_secret, too; requests are refused without it")
        self._poll = int(number(bot, "poll_seconds", _POLL_SECONDS, 1))
        self._reader = UpdateReader(User(0))
        pace, edits = number(bot, "pace_seconds", 1.05), number(bot, "edit_seconds", 1.2)
        self.limits = Limits(text=_TEXT, edits=edits, pace=pace, whole=_WHOLE_SECONDS, file=_FILE)

    async def open(self) -> str:
        me = msgspec.convert(await self._api.call("getMe"), User)
        self._reader = UpdateReader(me)
        return f"@{me.username}" if me.username else me.first_name

    async def receive(self, take: Take) -> None:
        if self._bot.hook is not None:
            await self._api.call(
                "setWebhook",
                url=f"{self._bot.hook.rstrip('/')}/hooks/{self._bot.name}",
                secret_token=self._hook_secret or None,
                allowed_updates=list(KINDS),
            )
        else:
            await self._api.call("deleteWebhook")
        if self._bot.hook is not None:
            await asyncio.Event().wait()
        offset: int | None = None
        while True:
            for read in joined(await self._updates(offset)):
                if read.inbound is not None:
                    await take(read.inbound)
                offset = read.update + 1  # Telegram forgets all before it with the next request

    async def _updates(self, offset: int | None) -> list[Read]:
        """Return what has come in and is not acknowledged. The parts of an album may come one after the other: none is
        acknowledged before the next ones had time to come."""
        found = await self._poll_once(offset, self._poll)
        for _ in range(_ALBUM_LOOKS):
            if not found or not self._reader.album(found[-1]):
                break
            await asyncio.sleep(_ALBUM_SECONDS)
            more = await self._poll_once(offset, 0)
            if len(more) <= len(found):
                break
            found = more
        return [self._reader.read(raw) for raw in found]

    async def _poll_once(self, offset: int | None, seconds: int) -> list[Any]:
        return await self._api.call(
            "getUpdates", wait=seconds, offset=offset, timeout=seconds, allowed_updates=list(KINDS)
        )

    def heard(self, headers: Mapping[bytes, bytes], body: bytes) -> Heard:
        """Return what a webhook's request says. Raises `Refused` without the right secret."""
        if not self._hook_secret or not hmac.compare_digest(headers.get(_SECRET, b""), self._hook_secret.encode()):
            raise Refused("this request does not show the secret of the webhook")
        try:
            read = self._reader.read(msgspec.json.decode(body))
        except msgspec.DecodeError:
            raise Refused("this request is no update") from None
        return Heard(() if read.inbound is None else (read.inbound,))

    async def send(self, to: Address, message: Outgoing, *, key: str) -> str:
        sent = await self._api.call(
            "sendMessage",
            chat_id=_number(to.id),
            message_thread_id=int(to.thread) if to.thread else None,
            disable_notification=True if message.quiet else None,
            **_content(message),
        )
        return str(sent["message_id"])

    async def send_file(self, to: Address, file: OutFile, *, quiet: bool, key: str) -> str:
        """Send a picture as a photo, if Telegram takes it as one, all else as a document."""
        place = {"chat_id": _number(to.id), "message_thread_id": int(to.thread) if to.thread else None}
        more = {**place, "disable_notification": True if quiet else None}
        if file.media_type in _PHOTOS and len(file.data) <= _PHOTO:
            with contextlib.suppress(Malformed):  # too wide or too high for a photo
                return str((await self._api.upload("sendPhoto", "photo", file, **more))["message_id"])
        return str((await self._api.upload("sendDocument", "document", file, **more))["message_id"])

    async def edit(self, to: Address, ref: str, message: Outgoing) -> None:
        try:
            await self._api.call("editMessageText", chat_id=_number(to.id), message_id=int(ref), **_content(message))
        except Refused as error:
            if "message is not modified" not in str(error):
                raise

    async def typing(self, to: Address) -> None:
        thread = int(to.thread) if to.thread else None
        await self._api.call("sendChatAction", chat_id=_number(to.id), message_thread_id=thread, action="typing")

    async def answer_press(self, ref: str, text: str) -> None:
        with contextlib.suppress(Refused):  # too late: the query is too old
            await self._api.call("answerCallbackQuery", callback_query_id=ref, text=text[:200])

    async def fetch(self, ref: str, most: int) -> bytes:
        found = await self._api.call("getFile", file_id=ref)
        path = found.get("file_path")
        if not path:
            raise Failed("getFile: the file is not ready")
        return await self._api.download(path, most)

    async def close(self) -> None:
        await self._api.close()


def joined(found: Sequence[Read]) -> list[Read]:
    """Return updates with the parts of each album that stand side by side as one, under the number of its last part:
    what is acknowledged is acknowledged as a whole."""
    made: list[Read] = []
    for read in found:
        last = made[-1] if made else None
        if last is not None and last.album and last.album == read.album:
            first, part = last.inbound, read.inbound
            assert isinstance(first, Written)
            assert isinstance(part, Written)
            meant = first.meant or part.meant  # the caption, and so the mention, may stand at any part
            whole = replace(first, meant=meant, album=(*first.album, replace(part, part=True)))
            made[-1] = Read(read.update, whole, read.album)
        else:
            made.append(read)
    return made


def _number(chat: str) -> int:
    try:
        return int(chat)
    except ValueError:
        raise Refused(f"{chat[:40]!r} is no chat of Telegram") from None


def _content(message: Outgoing) -> dict[str, Any]:
    """Return a message with its styles beside the text: nothing in the text can be markup. No preview of a link is
    made: Telegram's fetch of an address would tell its owner what the agent put into it."""
    keyboard = [[{"text": one.text, "callback_data": one.data}] for one in message.buttons]
    return {
        "text": message.rich.text,
        "entities": _entities(message.rich) or None,
        "link_preview_options": {"is_disabled": True},
        "reply_markup": {"inline_keyboard": keyboard} if keyboard else None,
    }


def _entities(rich: Rich) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for span in rich.spans[:_ENTITIES_MOST]:
        text = rich.text[span.start : span.end].rstrip()
        if not text.strip():
            continue
        one = {"type": _ENTITIES[span.kind], "offset": utf16(rich.text[: span.start]), "length": utf16(text)}
        if span.kind == "link":
            one["url"] = span.more
        elif span.kind == "pre" and span.more:
            one["language"] = span.more
        found.append(one)
    return found


def make(bot: Bot, token: str, hook_secret: str = "") -> Telegram:
    return Telegram(bot, token, hook_secret)
