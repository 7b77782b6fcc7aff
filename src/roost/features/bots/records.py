"""What a store keeps of bots: chats, senders, and what is on its way out. Each is a document that all nodes see.

The log of a session is the outbox of its answers; a `Cursor` says how far they were delivered. What no log has, such
as answers to commands, is a `Letter`. A letter that the platform refuses stays as a dead one, until a person looks."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from typing import Literal, TypeVar

import msgspec
from msgspec.structs import replace

from roost.errors import NotFound
from roost.features.bots.bots_file import Bot
from roost.ids import is_id, new_id
from roost.log.documents import Document, DocumentQuery, Documents, Put, Remove, Write, find_all

CHAT, CURSOR, LETTER, SENDER, STATUS = "bot.chat", "bot.cursor", "bot.letter", "bot.sender", "bot.status"
HELD = "bot.held"
BUCKET_SECONDS = 60.0
"""A chat is found by the time of its newest change, in steps of this length."""
CODE_SECONDS = 3600.0
"""For so long an unknown sender's code counts."""
_CODE_LETTERS = "ABCDEFGHJKMNPQRSTVWXYZ23456789"
_SENT_SECONDS = 2 * 86_400.0
_KEY_BYTES, _USER_LENGTH = 90, 200
R = TypeVar("R", bound=msgspec.Struct)


class Span(msgspec.Struct, frozen=True, omit_defaults=True):
    """A chat's session, for messages whose number is `since` or higher."""

    session: str
    since: int = 0


class Meant(msgspec.Struct, frozen=True, omit_defaults=True):
    """The question that the command of this number answers; no call: none waited then."""

    number: int
    session: str = ""
    call: str = ""
    asked: int | None = None


class Album(msgspec.Struct, frozen=True, omit_defaults=True):
    """Messages that were sent as one, and become one input under the id of the first: `messages` are the ids of all.
    taken: it is an input."""

    first: str
    messages: tuple[str, ...] = ()
    taken: bool = False


class Chat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A place where people write with a bot.

    address: names it at the platform. thread: a topic in it. spans: its sessions, the newest last. handled: numbers of
    the newest commands that took effect. meant: what the newest answers to questions are about. heard: when a person
    wrote last, to a minute: `sender`. user: whose sessions they are, with a session per user. albums: the newest ones.
    named: the id of its document, if its address was another one when it began. follows: this is no chat but leads
    from an address to the chat that has it now, by the id of its document.
    """

    bot: str
    address: str
    thread: str = ""
    user: str = ""
    title: str = ""
    group: bool = False
    spans: tuple[Span, ...] = ()
    handled: tuple[int, ...] = ()
    meant: tuple[Meant, ...] = ()
    heard: float = 0.0
    sender: str = ""
    albums: tuple[Album, ...] = ()
    named: str = ""
    follows: str = ""

    @property
    def id(self) -> str:
        return self.named or chat_id(self.bot, self.address, self.thread, self.user)

    def session_for(self, number: int) -> str | None:
        """Return the session that a message belongs to: also for one that comes again, or late."""
        return next((one.session for one in reversed(self.spans) if one.since <= number), None)


class Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a session's log was delivered to a chat: all up to `seq`, and of the next event so many `parts`.

    live: the platform's name of the message that shows an answer in progress. questions: those of the messages that
    show a question, by the call that waits.
    """

    seq: int = 0
    parts: int = 0
    live: str | None = None
    questions: dict[str, str] = {}


class LetterFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of a letter: an upload, which is deleted once it is delivered."""

    upload: str
    name: str
    media_type: str = "application/octet-stream"
    size: int = 0


class Letter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message on its way out. text: Markdown. session: that it is from; empty for the bot's own words. reason: why
    a dead one was refused. made, due: wall times; it is sent not before `due`. files: follow the text. sent: so many of
    its messages are delivered. keyed: its id comes from a key, so that it is remembered for two days once it is
    delivered."""

    id: str
    bot: str
    chat: str
    text: str
    session: str = ""
    state: Literal["waiting", "dead", "sent"] = "waiting"
    reason: str = ""
    made: float = 0.0
    due: float = 0.0
    files: tuple[LetterFile, ...] = ()
    sent: int = 0
    keyed: bool = False


class Sender(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A person at a platform. code: what the owner confirms, until `ends`. paired: since when they may write."""

    bot: str
    sender: str
    name: str = ""
    chat: str = ""
    code: str = ""
    ends: float = 0.0
    paired: float | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a bot does. node: that works for it. problem: why it cannot, empty if it can. since: wall time."""

    bot: str
    node: str = ""
    problem: str = ""
    since: float = 0.0
    title: str = ""


def chat_id(bot: str, address: str, thread: str = "", user: str = "") -> str:
    """Return the id of a chat's document. Names that differ give ids that differ: those with a colon or a `#`, which
    an address at a webhook may have, are hashed."""
    parts = (address, thread, user)
    key = ":".join(parts).rstrip(":")
    odd = any(":" in one or "#" in one for one in parts) or not key.isascii() or not key.isprintable()
    return f"{bot}/{hashed(*parts) if odd or len(key) > _KEY_BYTES else key}"


def user_of(bot: Bot, name: str) -> str:
    """Return the user of the sessions of a person or chat. At a webhook, names are those of one program alone."""
    name = name if len(name) <= _USER_LENGTH else hashed(name)
    return f"webhook:{bot.name}:{name}" if bot.platform == "webhook" else f"{bot.platform}:{name}"


def hashed(*parts: str) -> str:
    """Return a short name for texts of any length."""
    return "#" + hashlib.blake2b(msgspec.json.encode(parts), digest_size=16).hexdigest()


def new_letter(chat: Chat, text: str, *, session: str = "", files: tuple[LetterFile, ...] = ()) -> Letter:
    return Letter(
        id=new_id("let"), bot=chat.bot, chat=chat.id, text=text, session=session, made=time.time(), files=files
    )


def new_code() -> str:
    return "".join(secrets.choice(_CODE_LETTERS) for _ in range(8))


def put_chat(chat: Chat, revision: int | None) -> Put:
    keys = {"bot": chat.bot, "sender": f"{chat.bot}/{chat.sender}", "changed": _bucket(chat.bot, time.time())}
    return Put(kind=CHAT, id=chat.id, body=msgspec.json.encode(chat), keys=keys, revision=revision)


def put_cursor(chat: str, session: str, cursor: Cursor, revision: int) -> Put:
    return Put(kind=CURSOR, id=_cursor_id(chat, session), body=msgspec.json.encode(cursor), revision=revision)


def put_letter(letter: Letter, revision: int | None = None) -> Put:
    keys = {"waiting": letter.chat, "bot": letter.bot} if letter.state == "waiting" else {letter.state: letter.bot}
    return Put(kind=LETTER, id=letter.id, body=msgspec.json.encode(letter), keys=keys, revision=revision)


def put_sender(sender: Sender, revision: int | None = None) -> Put:
    keys = {"bot": sender.bot}
    if sender.code:
        keys |= {"code": f"{sender.bot}/{sender.code}", "waiting": sender.bot}
    return Put(kind=SENDER, id=_sender_id(sender.bot, sender.sender), body=msgspec.json.encode(sender), keys=keys,
               revision=revision)  # fmt: skip


class BotRecords:
    """The documents of bots in a store. Each read returns the record and its revision, 0 if there is none."""

    def __init__(self, documents: Documents) -> None:
        self.documents = documents

    async def chat(self, id: str) -> tuple[Chat | None, int]:
        return await self._get(CHAT, id, Chat)

    async def cursor(self, chat: str, session: str) -> tuple[Cursor, int]:
        found, revision = await self._get(CURSOR, _cursor_id(chat, session), Cursor)
        return found or Cursor(), revision

    async def sender(self, bot: str, sender: str) -> tuple[Sender | None, int]:
        return await self._get(SENDER, _sender_id(bot, sender), Sender)

    async def letter(self, id: str) -> tuple[Letter, int]:
        """Raises `NotFound`."""
        found, revision = await self._get(LETTER, id, Letter) if is_id(id) else (None, 0)
        if found is None:
            raise NotFound(f"there is no letter {id[:64]!r}; `roost bot letters` shows those that were not delivered")
        return found, revision

    async def status(self, bot: str) -> Status | None:
        return (await self._get(STATUS, bot, Status))[0]

    async def note_status(self, status: Status) -> None:
        await self.documents.write([Put(kind=STATUS, id=status.bot, body=msgspec.json.encode(status))])

    async def at(self, id: str) -> tuple[Chat | None, int]:
        """Return the chat of an address: also of one that it has by now."""
        chat, revision = await self.chat(id)
        return await self.chat(chat.follows) if chat is not None and chat.follows else (chat, revision)

    async def chats(self, bot: str) -> AsyncIterator[Chat]:
        """The chats of a bot."""
        async for one in self._all(CHAT, Chat, ("bot", bot)):
            if not one.follows:
                yield one

    async def changed_chats(self, bot: str, since: float) -> AsyncIterator[Chat]:
        """The chats that were changed since a wall time, and some before; a minute more than asked for, since clocks of
        nodes differ."""
        last = time.time() + BUCKET_SECONDS
        at = since - BUCKET_SECONDS
        while at < last + BUCKET_SECONDS:
            async for one in self._all(CHAT, Chat, ("changed", _bucket(bot, at))):
                if not one.follows:
                    yield one
            at += BUCKET_SECONDS

    async def lets_in(self, bot: Bot, chat: Chat) -> bool:
        """Whether the person of a chat may write. Who may not is told nothing of any session."""
        if chat.group or bot.allows(chat.sender):
            return True
        known, _ = await self.sender(bot.name, chat.sender)
        return known is not None and known.paired is not None

    def senders(self, bot: str) -> AsyncIterator[Sender]:
        return self._all(SENDER, Sender, ("bot", bot))

    def strangers(self, bot: str) -> AsyncIterator[Sender]:
        """Those who have a code, also one that has ended."""
        return self._all(SENDER, Sender, ("waiting", bot))

    def with_code(self, bot: str, code: str) -> AsyncIterator[Sender]:
        return self._all(SENDER, Sender, ("code", f"{bot}/{code}"))

    async def waiting(self, chat: str) -> list[Letter]:
        """Return the letters to a chat, in the order in which they were made."""
        found = [one async for one in self._all(LETTER, Letter, ("waiting", chat))]
        return sorted(found, key=lambda one: (one.made, one.id))

    def letters(self, bot: str) -> AsyncIterator[Letter]:
        """All letters of a bot that wait."""
        return self._all(LETTER, Letter, ("bot", bot))

    def dead(self, bot: str) -> AsyncIterator[Letter]:
        return self._all(LETTER, Letter, ("dead", bot))

    async def forget_sent(self, bot: str) -> None:
        """Delete what is remembered of letters that were delivered two days ago."""
        old = time.time() - _SENT_SECONDS
        for id in [one.id async for one in self._all(LETTER, Letter, ("sent", bot)) if one.due < old]:
            await self.documents.write([remove_letter(id)])

    async def _get(self, kind: str, id: str, type: type[R]) -> tuple[R | None, int]:
        document: Document | None = await self.documents.get(kind, id)
        return (None, 0) if document is None else (msgspec.json.decode(document.body, type=type), document.revision)

    async def _all(self, kind: str, type: type[R], key: tuple[str, str] | None) -> AsyncIterator[R]:
        async for one in find_all(self.documents, DocumentQuery(kind=kind, key=key, limit=200)):
            yield msgspec.json.decode(one.body, type=type)


def remove_letter(id: str) -> Remove:
    return Remove(kind=LETTER, id=id)


def delivered_letter(letter: Letter, revision: int) -> Write:
    """Return what is written once a letter is delivered: one with a key is remembered, so that a repetition of the call
    that wrote it writes no second one."""
    if not letter.keyed:
        return remove_letter(letter.id)
    return put_letter(replace(letter, state="sent", text="", files=(), due=time.time()), revision)


def remove_chat(id: str, revision: int) -> Remove:
    return Remove(kind=CHAT, id=id, revision=revision)


def remove_sender(sender: Sender) -> Remove:
    return Remove(kind=SENDER, id=_sender_id(sender.bot, sender.sender))


def _bucket(bot: str, at: float) -> str:
    return f"{bot}/{int(at // BUCKET_SECONDS)}"


def _cursor_id(chat: str, session: str) -> str:
    return f"{chat}/{session}"


def _sender_id(bot: str, sender: str) -> str:
    return chat_id(bot, sender)
