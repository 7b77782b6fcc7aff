"""Take in what people write: every message becomes an input of its chat's session, once.

The message's id at the platform is its key in the inbox, and its number says which of the chat's sessions it belongs
to. So a message that comes again, after a crash before its acknowledgement, finds the session that it went to, also
when a command has begun another one since."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from msgspec.structs import replace

from roost.authority import HOME, Authority, acting
from roost.doors.bots.attachments import Attachments
from roost.doors.bots.commands import Commands
from roost.doors.bots.migration import migrate
from roost.doors.bots.platform import Failed, Inbound, Migrated, Person, Platform, Pressed, Refused, Written
from roost.doors.bots.questions import press
from roost.errors import Busy, Conflict, NotFound, RoostError, StoreFailed
from roost.features.bots.bots_file import Bot
from roost.features.bots.records import (
    CODE_SECONDS,
    Album,
    BotRecords,
    Chat,
    Sender,
    hashed,
    new_code,
    new_letter,
    put_chat,
    put_letter,
    put_sender,
    remove_chat,
    remove_sender,
)
from roost.log.content import Text
from roost.log.documents import Write
from roost.log.inputs import MessageInput
from roost.server.app_state import Api

log = logging.getLogger("roost.bots")
_HEARD_SECONDS = 60.0
_UNKNOWN = 100
"""Most senders of a bot that wait for the owner. A further one takes the place of the one that has waited longest."""
_UNDISTURBED = 600.0
"""Seconds for which nobody takes the place of a sender that waits."""
_ALBUMS = 4
_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)
_TRIES = 20


class Inbox:
    """Takes in the messages of one bot, on any node."""

    def __init__(self, api: Api, bot: Bot, platform: Platform, records: BotRecords) -> None:
        self._api, self._bot, self._platform, self._records = api, bot, platform, records
        self._commands = Commands(api, bot, records)
        self._attachments = Attachments(api, bot, platform)

    async def take(self, event: Inbound) -> None:
        """Return once the message is an input, or needs to be none. Waits while the store or the inbox cannot take
        it."""
        tries = 0
        while True:
            try:
                with acting(_authority(self._bot)):
                    return await self._take(event)
            except (StoreFailed, Busy) as error:
                if tries == 0:
                    log.warning("a message to bot %s waits: %s", self._bot.name, error)
                await asyncio.sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])
                tries += 1
            except Exception as error:  # it would stop all that come after it: its sender is told
                log.error("cannot take a message to bot %s: %s", self._bot.name, error, exc_info=error)
                return await self._refuse(event, error)

    async def _refuse(self, event: Inbound, error: Exception) -> None:
        if isinstance(event, Migrated):
            return
        why = error.message if isinstance(error, RoostError) else "something is wrong here; the log says what"
        with acting(_authority(self._bot)):
            await self._commands.tell(await self._chat(event), event.number, f"I cannot take this: {why}")

    async def _take(self, event: Inbound) -> None:
        if isinstance(event, Migrated):
            await migrate(self._records, self._bot.name, event.chat.id, event.to)
            return
        if self._ignored(event) or not await self._known(event):
            return
        chat = await self._chat(event)
        if isinstance(event, Pressed):
            told = await press(self._api, chat, event, source=_source(self._bot, event.sender))
            with contextlib.suppress(Failed, Refused):  # the question itself shows the answer, too
                await self._platform.answer_press(event.ref, told)
            return
        if not event.found and await self._commands.take(chat, event):
            return
        for one in await self._apart(chat, event):
            await self._message(chat, one)
        if event.album:
            await self._album_taken(chat.id, event.id)

    async def _apart(self, chat: Chat, event: Written) -> list[Written]:
        """Return the inputs that messages which were sent as one become: one. It is noted first which of them it has:
        if they come again after a crash, with more of them, those that the first try did not have are inputs of their
        own."""
        if not event.album:
            others = [one for one in chat.albums if one.taken and one.first != event.id]
            return [] if any(event.id in one.messages for one in others) else [event]
        ids = (event.id, *(one.id for one in event.album))
        for _ in range(_TRIES):
            known = next((one for one in chat.albums if one.first == event.id), None)
            if known is not None:
                joined = tuple(one for one in event.album if one.id in known.messages)
                return [replace(event, album=joined), *(one for one in event.album if one.id not in known.messages)]
            found, revision = await self._records.chat(chat.id)
            chat = found or chat
            if any(one.first == event.id for one in chat.albums):
                continue
            noted = replace(chat, albums=(*chat.albums, Album(event.id, ids))[-_ALBUMS:])
            with contextlib.suppress(Conflict):
                await self._records.documents.write([put_chat(noted, revision)])
                chat = noted
        raise Conflict(f"chat {chat.id!r} changes too often")

    async def _album_taken(self, id: str, first: str) -> None:
        """Note that an album is an input: a part that comes again without the others is none."""
        for _ in range(_TRIES):
            chat, revision = await self._records.chat(id)
            if chat is None:
                return
            albums = tuple(replace(one, taken=True) if one.first == first else one for one in chat.albums)
            if albums == chat.albums:
                return
            with contextlib.suppress(Conflict):
                await self._records.documents.write([put_chat(replace(chat, albums=albums), revision)])
                return

    def _ignored(self, event: Written | Pressed) -> bool:
        if not event.chat.group or self._bot.groups == "all":
            return False
        return self._bot.groups == "never" or (isinstance(event, Written) and not event.meant)

    async def _message(self, chat: Chat, event: Written) -> None:
        for _ in range(_TRIES):
            session = chat.session_for(event.number)
            if session is None:
                chat = await self._commands.begin(chat, event.number)
                continue
            try:
                return await self._put(session, chat, event)
            except NotFound:  # the session was deleted
                chat = await self._commands.begin(chat, event.number)
            except Conflict as error:
                if error.code not in ("session_stopped", "session_error"):
                    raise
                told = "The conversation before was ended; this is a new one."
                chat = await self._commands.begin(chat, event.number, told)
        raise Conflict(f"a message to bot {self._bot.name!r} finds no session; the next try begins again")

    async def _put(self, session: str, chat: Chat, event: Written) -> None:
        key = self._key(event)
        parts = await self._attachments.parts_of(session, event, named=chat.group, key=key)
        item = MessageInput(
            parts,
            mode="steer" if event.part else "follow_up",
            source=_source(self._bot, event.sender),
            tainted=event.found or None,
            note={"chat": chat.id, "message": event.id, "sender": event.sender.id, "name": event.sender.name},
        )
        sent = MessageInput((Text(key),))  # a file may come in otherwise when it is fetched again
        await self._api.sessions.put(session, item, key=key, sent=sent)

    def _key(self, event: Written) -> str:
        key = f"bot:{self._bot.name}:{event.chat.id}:{event.id}"
        fits = len(key.encode(errors="replace")) <= 255
        return key if fits else f"bot:{self._bot.name}:{hashed(event.chat.id, event.id)}"

    async def _chat(self, event: Written | Pressed) -> Chat:
        """Return the chat of an event, and note that somebody has written there."""
        address = event.chat
        user = event.sender.id if address.group and self._bot.sessions == "user" else ""
        fresh = Chat(bot=self._bot.name, address=address.id, thread=address.thread, user=user, group=address.group)
        title, now = address.title or event.sender.name, time.time()
        for _ in range(_TRIES):
            known, revision = await self._records.at(fresh.id)
            chat = known or fresh
            fits = known is not None and (known.group or known.sender == event.sender.id)
            if known is not None and fits and now - known.heard < _HEARD_SECONDS:
                return known
            chat = replace(chat, title=title[:200], heard=now, sender=event.sender.id)
            try:
                await self._records.documents.write([put_chat(chat, revision)])
                return chat
            except Conflict:
                continue
        raise Conflict(f"chat {fresh.id!r} changes too often")

    async def _known(self, event: Written | Pressed) -> bool:
        """Whether the sender may write; one who may not gets a code for the owner, once in an hour."""
        if self._bot.allows(event.sender.id) or (isinstance(event, Written) and event.found):
            return True
        known, revision = await self._records.sender(self._bot.name, event.sender.id)
        if known is not None and known.paired is not None:
            return True
        if not self._bot.pairing or isinstance(event, Pressed) or event.chat.group:
            return False
        now = time.time()
        if known is not None and known.ends > now:
            return False
        if known is None and await self._crowded(now):
            return False
        await self._introduce(event, revision, now)
        return False

    async def _crowded(self, now: float) -> bool:
        """Whether too many wait. Those whose code has ended are forgotten, with their chats; so is the one that has
        waited longest, if it is another one's turn."""
        waiting: list[Sender] = []
        async for one in self._records.strangers(self._bot.name):
            if one.ends > now:
                waiting.append(one)
            else:
                await self._forget(one)
        if len(waiting) < _UNKNOWN:
            return False
        oldest = min(waiting, key=lambda one: one.ends)
        if oldest.ends - CODE_SECONDS > now - _UNDISTURBED:
            return True
        await self._forget(oldest)
        return False

    async def _forget(self, stranger: Sender) -> None:
        known, revision = await self._records.sender(stranger.bot, stranger.sender)
        chat, place = await self._records.chat(stranger.chat)
        if known != stranger:  # paired meanwhile
            return
        writes: list[Write] = [replace(remove_sender(stranger), revision=revision)]
        if chat is not None and not chat.spans and not chat.group:
            writes.append(remove_chat(chat.id, place))
        with contextlib.suppress(Conflict):
            await self._records.documents.write(writes)

    async def _introduce(self, event: Written, revision: int, now: float) -> None:
        chat = Chat(bot=self._bot.name, address=event.chat.id, thread=event.chat.thread)
        sender = Sender(
            bot=self._bot.name,
            sender=event.sender.id,
            name=event.sender.name,
            chat=chat.id,
            code=new_code(),
            ends=now + CODE_SECONDS,
        )
        known, place = await self._records.chat(chat.id)
        told = (
            f"I do not know you yet. The owner of this bot lets you in with:\n\n"
            f"`roost bot pair {self._bot.name} {sender.code}`\n\nThen send your message again."
        )
        writes = [put_sender(sender, revision), put_letter(new_letter(chat, told))]
        if known is None:
            writes.append(put_chat(replace(chat, title=event.sender.name, sender=event.sender.id), place))
        try:
            await self._records.documents.write(writes)
        except Conflict:  # another node was first
            return


def _authority(bot: Bot) -> Authority:
    return HOME if bot.account is None else Authority(account=bot.account, role="user")


def _source(bot: Bot, sender: Person) -> str:
    return f"{bot.platform}:{sender.id}"[:256]
