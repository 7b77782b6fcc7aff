"""Write to a person who has not asked: the tool `send_message`.

A message becomes a letter, under an id that the call's idempotency key gives, so a call that runs again writes no
second one. At most `unasked` a day go to a chat, and none in the bot's quiet hours: it waits until they end."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace

from roost.authority import user_named
from roost.errors import Conflict, Invalid, NotFound, RoostError
from roost.features.bots.bots_file import Bot, read_bots
from roost.features.bots.records import BotRecords, Chat, Letter, LetterFile, new_letter, put_letter, user_of
from roost.log.coordination import Coordination
from roost.log.documents import Documents
from roost.time_zones import local_time
from roost.tools.errors import ToolError

_DAY = 86_400.0
_MOST = 32_000
"""Most characters of a message."""


class TooManyMessages(RoostError):
    """No more messages that no person asked for go to a chat today."""

    code, status = "too_many_messages", 429


class BotPost:
    """Writes letters for the sessions of one account. home: the folder with `bots.toml`."""

    def __init__(self, documents: Documents, shared: Coordination, home: Path, account: str | None) -> None:
        self._documents, self._shared, self._home, self._account = documents, shared, home, account

    async def send(
        self, text: str, to: str, *, key: str, session: str, user: str, files: Sequence[LetterFile] = ()
    ) -> str:
        """Write to a chat. to: `BOT`, `BOT/CHAT`, or empty for the chat where the person wrote last. user: that of the
        session: one of a person at a bot writes to this person alone. Returns what became of it. Raises
        `ToolError`."""
        if not text.strip() or len(text) > _MOST:
            raise ToolError(f"a message has 1 to {_MOST} characters")
        records = BotRecords(self._documents)
        try:
            bots = await asyncio.to_thread(read_bots, self._home)
            known = [
                (bot, chat)
                for bot in bots.values()
                if bot.account == self._account
                for chat in await reached(records, bot)
            ]
            bot, chat = chosen(known, to.strip(), user)
            return (await self.post(bot, chat, text, key=key, session=session, files=files))[1]
        except RoostError as error:
            raise ToolError(error.message) from error

    async def post(
        self, bot: Bot, chat: Chat, text: str, *, key: str, session: str = "", files: Sequence[LetterFile] = ()
    ) -> tuple[Letter, str]:
        """Write a letter to a chat, once for a `key`. Return it, and what became of it. Raises `TooManyMessages`,
        `StoreFailed`."""
        named = f"{chat.id} {key}".encode(errors="replace")
        id = f"let_{hashlib.blake2b(named, digest_size=12).hexdigest()}"
        records = BotRecords(self._documents)
        with contextlib.suppress(NotFound):
            known, _ = await records.letter(id)
            return known, f"the message to {_name(chat)} was written before"
        if bot.unasked <= 0:
            raise TooManyMessages(f"bot {bot.name!r} sends nothing that no person asked for")
        wait = await self._shared.take(f"bot:{chat.id}", 1.0, rate=bot.unasked / _DAY, burst=float(bot.unasked))
        if wait:
            raise TooManyMessages(
                f"{bot.unasked} messages were sent to {_name(chat)} within a day: wait {wait / 3600:.1f} hours"
            )
        due = time.time() + quiet_left(bot, time.time())
        letter = replace(new_letter(chat, text, session=session, files=tuple(files)), id=id, due=due, keyed=True)
        try:
            await records.documents.write([put_letter(letter, 0)])
        except Conflict:
            return letter, f"the message to {_name(chat)} was written before"
        later = (
            f", and is sent at {local_time(due, bot.zone):%H:%M}, after the quiet hours"
            if due > letter.made + 1
            else ""
        )
        return letter, f"the message to {_name(chat)} is written{later}"


async def reached(records: BotRecords, bot: Bot) -> list[Chat]:
    """Return the chats of those who may write. One of a person who was never let in, or was shut out, gets nothing."""
    paired = {one.sender async for one in records.senders(bot.name) if one.paired is not None}
    return [
        chat async for chat in records.chats(bot.name) if chat.group or bot.allows(chat.sender) or chat.sender in paired
    ]


def chosen(known: list[tuple[Bot, Chat]], to: str, user: str) -> tuple[Bot, Chat]:
    """Return the chat to write to. Raises `NotFound`, `Invalid`."""
    own = [(bot, chat) for bot, chat in known if user and user == _user(bot, chat)]
    allowed = own or [(bot, chat) for bot, chat in known if not user]
    found = [one for one in allowed if not to or to in (one[0].name, one[1].id, one[1].address)]
    if not found:
        there = ", ".join(sorted(chat.id for _, chat in allowed)) or "none: nobody has written with a bot yet"
        raise NotFound(f"there is no chat {to!r} to write to; there is: {there}" if to else f"no chat: {there}")
    if not to and len({user_of(bot, chat.sender) for bot, chat in found}) > 1:
        raise Invalid(f"several people write here; say to whom: {', '.join(sorted(one.id for _, one in found))}")
    return max(found, key=lambda one: one[1].heard)


def _user(bot: Bot, chat: Chat) -> str:
    """Return the user of a chat's sessions."""
    return user_named(user_of(bot, chat.user or chat.address), bot.account)


def quiet_left(bot: Bot, now: float) -> float:
    """Return the seconds until the bot's quiet hours end; 0 outside them."""
    if not bot.quiet:
        return 0.0
    begin, _, end = bot.quiet.partition("-")
    local = local_time(now, bot.zone)
    minute = local.hour * 60 + local.minute
    first, last = (int(one[:2]) * 60 + int(one[3:5]) for one in (begin, end))
    inside = first <= minute < last if first <= last else minute >= first or minute < last
    if not inside:
        return 0.0
    over = local.replace(hour=last // 60, minute=last % 60, second=0, microsecond=0)
    over = over if over > local else over + timedelta(days=1)
    return max(0.0, over.timestamp() - now)


def _name(chat: Chat) -> str:
    return f"{' '.join(chat.title.split())[:60]} ({chat.id})"
