"""A bot at Discord.

The gateway repeats what was not taken as long as its session lives. For what came while no node was connected, the
store has the newest message of each channel that was taken; a new session asks for those after it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from roost.doors.bots.discord.events import interaction, reference, written
from roost.doors.bots.discord.gateway import Gateway
from roost.doors.bots.discord.markdown import markdown_of
from roost.doors.bots.discord.rest import URL, Rest
from roost.doors.bots.downloads import download
from roost.doors.bots.platform import (
    Address,
    Failed,
    Limits,
    OutFile,
    Outgoing,
    Pressed,
    Refused,
    Take,
    Written,
    number,
)
from roost.errors import ConfigError
from roost.features.bots.bots_file import Bot
from roost.features.bots.positions import Position

log = logging.getLogger("roost.bots")
_Read = TypeVar("_Read")
_LIMITS = Limits(text=1600, edits=1.2, pace=0.4, file=10 << 20)
"""Of 2,000 characters some are for the marks of styles."""
_GUILDS, _GUILD_MESSAGES, _DIRECT_MESSAGES, _CONTENT = 1 << 0, 1 << 9, 1 << 12, 1 << 15
_NO_EMBEDS, _SILENT, _ONLY_THEM = 1 << 2, 1 << 12, 1 << 6
_CHANNELS = 500
"""Channels whose newest message is remembered."""
_PAGE = 100
_COMMANDS = {
    "new": "Begin a new conversation",
    "stop": "Stop what the agent is doing",
    "approve": "Say yes to the newest question",
    "reject": "Say no to the newest question",
    "cost": "Show what this conversation has cost",
    "help": "Show the commands",
}


class _Me(msgspec.Struct):
    id: str
    username: str = ""


class _Newest(msgspec.Struct):
    """The newest message taken, by channel; those of `groups` are in servers."""

    channels: dict[str, str] = {}
    groups: set[str] = set()


class Discord:
    """One bot. token: from the developer portal."""

    limits = _LIMITS

    def __init__(self, bot: Bot, token: str, hook_secret: str = "") -> None:
        if extra := set(bot.options) - {"api", "pace_seconds", "edit_seconds", "commands"}:
            raise ConfigError(f"bots.{bot.name}: a Discord bot has no {min(extra)!r}")
        if not token:
            raise ConfigError(f"bots.{bot.name}: a Discord bot needs a token: name its secret")
        if bot.hook is not None:
            raise ConfigError(f"bots.{bot.name}: hook: Discord sends everything over the gateway")
        pace = number(bot, "pace_seconds", _LIMITS.pace)
        edits = number(bot, "edit_seconds", _LIMITS.edits or 0)
        self.limits = _LIMITS._replace(edits=edits, pace=pace)
        self._commands = bot.options.get("commands", True) in (True, "true")
        self._rest = Rest(token, str(bot.options.get("api", URL)))
        intents = _GUILDS | _GUILD_MESSAGES | _DIRECT_MESSAGES | (_CONTENT if bot.groups == "all" else 0)
        self._gateway = Gateway(token, intents, self._address, self._event)
        self._me, self._take = "", _nobody
        self._position: Position | None = None
        self._newest = _Newest()

    def keep(self, position: Position) -> None:
        self._position = position

    async def open(self) -> str:
        me = msgspec.convert(await self._rest.call("GET", "/users/@me"), _Me)
        self._me = me.id
        return f"@{me.username}"

    async def receive(self, take: Take) -> None:
        self._take = take
        if self._position is not None:
            self._newest = await self._position.load(_Newest) or _Newest()
        await self._gateway.run()

    async def _address(self) -> str:
        """Return the gateway's address."""
        url = str((await self._rest.call("GET", "/gateway/bot"))["url"])
        if not url.startswith("wss://" if self._rest.url.startswith("https://") else ("ws://", "wss://")):
            raise Refused("Discord names a gateway that is not encrypted")
        return url

    async def _event(self, kind: str, raw: msgspec.Raw) -> None:
        match kind:
            case "READY":
                await self._began(raw)
            case "MESSAGE_CREATE":
                await self._message(_understood(kind, lambda: written(raw, self._me)))
            case "MESSAGE_UPDATE":
                if (edited := _understood(kind, lambda: written(raw, self._me, edit=True))) is not None:
                    await self._take(edited)
            case "INTERACTION_CREATE":
                await self._interaction(raw)
            case _:
                pass

    async def _began(self, raw: msgspec.Raw) -> None:
        """Take what was written while there was no session."""
        if self._commands:
            application = msgspec.json.decode(raw, type=dict[str, Any])["application"]["id"]
            given = [{"name": name, "description": text, "type": 1} for name, text in _COMMANDS.items()]
            await self._rest.call("PUT", f"/applications/{application}/commands", given)
        for channel, newest in [*self._newest.channels.items()]:
            try:
                await self._catch_up(channel, newest)
            except Refused:  # the bot was removed from there
                self._newest.channels.pop(channel, None)

    async def _catch_up(self, channel: str, newest: str) -> None:
        group = channel in self._newest.groups
        while True:
            path = f"/channels/{channel}/messages?after={newest}&limit={_PAGE}"
            found: list[Any] = sorted(await self._rest.call("GET", path), key=lambda one: int(one["id"]))
            for one in found:
                newest = one["id"]
                await self._message(_understood("a message", lambda one=one: written(one, self._me, group=group)))
            if len(found) < _PAGE:
                return

    async def _message(self, found: Written | None) -> None:
        if found is None:
            return
        await self._take(found)
        channels = self._newest.channels
        if int(channels.get(found.chat.id, "0")) >= found.number:
            return
        channels.pop(found.chat.id, None)
        channels[found.chat.id] = found.id  # the newest channel last
        if found.chat.group:
            self._newest.groups.add(found.chat.id)
        while len(channels) > _CHANNELS:
            self._newest.groups.discard(oldest := next(iter(channels)))
            del channels[oldest]
        if self._position is not None and found.meant:
            await self._position.save(self._newest)

    async def _interaction(self, raw: msgspec.Raw) -> None:
        found = _understood("INTERACTION_CREATE", lambda: interaction(raw))
        if found is None:
            return
        await self._take(found)
        if not isinstance(found, Pressed):
            await self.answer_press(reference(raw), f"{getattr(found, 'text', '')} …")

    async def send(self, to: Address, message: Outgoing, *, key: str) -> str:
        return await self._post(to, _content(message), quiet=message.quiet, key=key)

    async def send_file(self, to: Address, file: OutFile, *, quiet: bool, key: str) -> str:
        return await self._post(to, {}, quiet=quiet, key=key, files=(file,))

    async def _post(
        self, to: Address, content: dict[str, Any], *, quiet: bool, key: str, files: Sequence[OutFile] = ()
    ) -> str:
        """Send a message. Discord makes one alone with a nonce, and returns it again for some minutes."""
        nonce = hashlib.blake2b(key.encode(errors="replace"), digest_size=12).hexdigest()
        flags = _NO_EMBEDS | (_SILENT if quiet else 0)
        body = {**content, **_NO_MENTIONS, "nonce": nonce, "enforce_nonce": True, "flags": flags}
        sent = await self._rest.call("POST", f"/channels/{_id(to.id)}/messages", body, files=files)
        return str(sent["id"])

    async def edit(self, to: Address, ref: str, message: Outgoing) -> None:
        path = f"/channels/{_id(to.id)}/messages/{_id(ref)}"
        await self._rest.call("PATCH", path, _content(message) | _NO_MENTIONS | {"flags": _NO_EMBEDS})

    async def typing(self, to: Address) -> None:
        await self._rest.call("POST", f"/channels/{_id(to.id)}/typing")

    async def answer_press(self, ref: str, text: str) -> None:
        answer = {"type": 4, "data": {"content": text[:2000], "flags": _ONLY_THEM, **_NO_MENTIONS}}
        try:
            await self._rest.call("POST", f"/interactions/{ref}/callback", answer)
        except Refused:  # three seconds have passed, or it was answered before
            return

    async def fetch(self, ref: str, most: int) -> bytes:
        if not _is_discords(ref, self._rest.url):
            raise Refused("a file that is not at Discord")
        return await download(self._rest.client(), ref, most)

    async def close(self) -> None:
        await self._rest.close()


def _understood(kind: str, read: Callable[[], _Read | None]) -> _Read | None:
    """Return what an event says. One that is not understood is passed over: it would come again for ever."""
    try:
        return read()
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        log.error("Discord: %s is not understood, and passed over: %s", kind, error)
        return None


_NO_MENTIONS: dict[str, Any] = {"allowed_mentions": {"parse": []}}


async def _nobody(event: Any) -> None:
    raise Failed("the bot does not receive yet")


def _content(message: Outgoing) -> dict[str, Any]:
    buttons = [
        {
            "type": 2,
            "style": 4 if one.data.startswith("reject") else 3,
            "label": one.text[:80],
            "custom_id": one.data[:100],
        }
        for one in message.buttons
    ]
    rows = [{"type": 1, "components": buttons}] if buttons else []
    return {"content": markdown_of(message.rich), "components": rows}


def _id(given: str) -> str:
    if not given.isascii() or not given.isdigit():
        raise Refused(f"{given[:40]!r} is no id of Discord")
    return given


def _is_discords(url: str, api: str) -> bool:
    """Whether an address of a file is one of Discord's."""
    try:
        given, own = urlsplit(url), urlsplit(api)
        host = given.hostname or ""
        discords = given.scheme == "https" and host in ("cdn.discordapp.com", "media.discordapp.net")
    except ValueError:
        return False
    return discords or (given.scheme, given.netloc) == (own.scheme, own.netloc)


def make(bot: Bot, token: str, hook_secret: str = "") -> Discord:
    return Discord(bot, token, hook_secret)
