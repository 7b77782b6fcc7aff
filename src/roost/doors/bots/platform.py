"""A bot at its platform, as the rest sees it: what comes in, what goes out, and how it can fail.

The inbound rule: a message is acknowledged to the platform only after `Take` has returned, and `Take` returns once the
message is an input of its session, under its sender's id. So it is never lost, and never taken twice.

The outbound rule: what a session says is in its log; a cursor says how far it was delivered. A message is sent again
until the platform has taken or refused it, in order for each chat. `Platform.send` is given a key, for platforms that
recognize a repetition; at others a crash between sending and noting sends it twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import msgspec

from roost.doors.bots.rich_text import Rich
from roost.errors import ConfigError
from roost.features.bots.bots_file import Bot
from roost.features.bots.positions import Position
from roost.features.bots.records import BotRecords
from roost.log.store import Store


class Address(msgspec.Struct, frozen=True):
    """A chat at its platform. thread: a topic or thread in it, if there is one."""

    id: str
    thread: str = ""
    group: bool = False
    title: str = ""


class Person(msgspec.Struct, frozen=True):
    """Somebody who writes. id: cannot be chosen by themselves. name: can."""

    id: str
    name: str


class Attachment(msgspec.Struct, frozen=True):
    """A file of a message. ref: what `Platform.fetch` needs. size: in bytes, 0 if not known."""

    kind: Literal["image", "audio", "video", "file"]
    ref: str
    media_type: str
    name: str = ""
    size: int = 0
    voice: bool = False


class Written(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A person wrote a message.

    number: orders what comes in at this bot; the same when it comes again. id: the message's, unique within its chat.
    text: plain. meant: it is for the bot: not in a group, or by a mention, or an answer to the bot. edit: it replaces
    the former text of the message. part: one of several that were sent as one, and not the first. album: the further
    messages that were sent as one with this one, in order. found: no person wrote it; the bot has found it at this
    address, for its owner. It is no command, and its session has untrusted content from then on.
    """

    number: int
    id: str
    chat: Address
    sender: Person
    text: str = ""
    meant: bool = True
    attachments: tuple[Attachment, ...] = ()
    edit: bool = False
    part: bool = False
    album: tuple[Written, ...] = ()
    found: str = ""


class Pressed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A person pressed a button. data: the button's. ref: what `Platform.answer_press` needs."""

    number: int
    chat: Address
    sender: Person
    data: str
    ref: str


class Migrated(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A chat has another id from now on. chat: by its former id. to: the new id."""

    number: int
    chat: Address
    to: str


Inbound: TypeAlias = Written | Pressed | Migrated


class Button(NamedTuple):
    """A button under a message. data: at most 64 bytes."""

    text: str
    data: str


class Outgoing(msgspec.Struct, frozen=True):
    """A message to send. It fits into the platform's limits. quiet: without a sound."""

    rich: Rich
    buttons: tuple[Button, ...] = ()
    quiet: bool = False


class OutFile(NamedTuple):
    """A file to send."""

    name: str
    media_type: str
    data: bytes


class Limits(NamedTuple):
    """text: most characters of a message, as the platform counts them (`Rich.size`). edits: seconds between two edits
    of a message; None if messages cannot be edited. pace: seconds between two messages to a chat. whole: seconds
    between two messages of the bot, to whichever chats. file: most bytes of a file."""

    text: int
    edits: float | None = None
    pace: float = 0.0
    whole: float = 0.0
    file: int = 0


LONGEST_WAIT = 3600.0
"""Seconds beyond which a wait that a platform asks for is not believed."""


class Failed(Exception):
    """The platform cannot do it now. after: seconds to wait first, if it said so, at most `LONGEST_WAIT`."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = None if after is None else max(0.0, min(after, LONGEST_WAIT)) if after == after else None


class Refused(Exception):
    """The platform will never do it: such as a message to a person who has blocked the bot."""


class Malformed(Refused):
    """The platform takes the text, but not its styles, addresses or buttons."""


class Moved(Refused):
    """The chat has another id now: `to`."""

    def __init__(self, why: str, to: str) -> None:
        super().__init__(why)
        self.to = to


class Unauthorized(Failed):
    """The platform knows no such bot, or its token is wrong."""


Take: TypeAlias = Callable[[Inbound], Awaitable[None]]


class Platform(Protocol):
    """One bot at its platform, made for as long as a node works for it. All methods but `receive` raise `Failed` and
    `Refused`, and nothing else."""

    limits: Limits

    async def open(self) -> str:
        """Introduce the bot. Return its name there."""
        ...

    async def receive(self, take: Take) -> None:
        """Take in what people write, in order, for ever. What `take` raises passes. Raises `Failed`."""
        ...

    async def send(self, to: Address, message: Outgoing, *, key: str) -> str:
        """Send a message. Return the platform's name of it. key: the same when it is sent again."""
        ...

    async def edit(self, to: Address, ref: str, message: Outgoing) -> None:
        """Replace a message. Raises `Refused` if it is gone."""
        ...

    async def typing(self, to: Address) -> None:
        """Show that an answer is being made, for a few seconds."""
        ...

    async def answer_press(self, ref: str, text: str) -> None:
        """Tell the person who pressed a button what came of it."""
        ...

    async def fetch(self, ref: str, most: int) -> bytes:
        """Return the content of an attachment. Raises `Refused` if it has more than `most` bytes."""
        ...

    async def close(self) -> None: ...


class Heard(NamedTuple):
    """What a request of a platform says, and what it is answered once all of it is on disk."""

    inbound: Sequence[Inbound]
    reply: Mapping[str, Any] = {"ok": True}


@runtime_checkable
class SendsFiles(Protocol):
    """A platform that takes files, up to `Limits.file` bytes each. At others a file is named in a message."""

    async def send_file(self, to: Address, file: OutFile, *, quiet: bool, key: str) -> str:
        """Send a file, as `Platform.send` sends a message."""
        ...


@runtime_checkable
class Hooked(Protocol):
    """A platform that can send updates to a webhook."""

    def heard(self, headers: Mapping[bytes, bytes], body: bytes) -> Heard:
        """Return what a request of the platform says. Raises `Refused` if it is not from the platform."""
        ...


@runtime_checkable
class Relays(Protocol):
    """A platform without people. What its sessions say goes to a chat of another bot."""

    def relay_by(self, records: BotRecords) -> None:
        """Take the records of bots, before `send`."""
        ...


@runtime_checkable
class Tails(Protocol):
    """A platform that reads the logs of sessions itself."""

    def tail(self, store: Store, records: BotRecords) -> None:
        """Take the store with all sessions, and the records of bots, before `receive`."""
        ...


@runtime_checkable
class Positioned(Protocol):
    """A platform that notes in the store where it is, since the other side does not keep what was not taken."""

    def keep(self, position: Position) -> None:
        """Take the bot's position, before `receive`."""
        ...


def number(bot: Bot, name: str, usual: float, least: float = 0.0) -> float:
    """Return an option that is a number: of seconds. Raises `ConfigError`."""
    given = bot.options.get(name, usual)
    try:
        found = float(given)
    except (TypeError, ValueError):
        found = -1.0
    if not least <= found <= 3600:
        raise ConfigError(f"bots.{bot.name}: {name}: {given!r} is no number of seconds from {least:g} to 3600")
    return found


MakePlatform: TypeAlias = Callable[[Bot, str, str], Platform]
"""Makes a platform for a bot, by the values of its token and of the secret of its webhook. Opens nothing yet. Raises
`ConfigError`."""
