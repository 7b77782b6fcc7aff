"""A store's content in a form that any other store can restore: for store copies and comparisons."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

import msgspec

from roost.log.documents import Document
from roost.log.fact_rows import StoredFact
from roost.log.facts import Space
from roost.log.inputs import decode_input
from roost.log.ledger import LostCall
from roost.log.protocols import CheckpointRow, Record, Snapshot
from roost.log.session_info import SessionInfo


class StoredInput(NamedTuple):
    """An inbox row. Consumed inputs with a key are included: their body is empty, and their key still detects
    repetitions."""

    id: int
    key: str | None
    digest: bytes | None
    accepted_at: float
    taken: bool
    body: bytes

    @property
    def urgency(self) -> int:
        """The input's urgency; 0 (conversation) if it cannot be read. The node that wakes the session then reports the
        error."""
        try:
            return 0 if self.taken else decode_input(self.body).urgency
        except msgspec.MsgspecError:
            return 0


class StoredTimer(NamedTuple):
    """A timer row. due: wall time, seconds. body: its encoded input."""

    id: str
    due: float
    body: bytes


class SessionDump(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of a session except its events. `info.owner` has no meaning in another store."""

    info: SessionInfo
    create_key: str | None
    inputs: int
    """The highest number given to an input; later inputs get higher ones."""
    inbox: tuple[StoredInput, ...]
    timers: tuple[StoredTimer, ...]
    snapshot: Snapshot | None
    checkpoints: tuple[CheckpointRow, ...] = ()
    """Oldest first."""


class SharedDump(msgspec.Struct, frozen=True, kw_only=True):
    """settings: by name. budgets: (spent, reserved) by name. reservations: id → budget → amount. calls: the lost calls.
    Notes of running calls are not copied: their reservations count in full."""

    settings: dict[str, str]
    budgets: dict[str, tuple[int, int]]
    reservations: dict[str, dict[str, int]]
    calls: tuple[LostCall, ...] = ()


class Portable(Protocol):
    """The part of a store that copies its content to another store."""

    def sessions(self) -> AsyncIterator[str]:
        """Yield the id of every session, oldest first."""
        ...

    async def dump(self, session: str) -> SessionDump:
        """Return one consistent view. The caller reads the events up to `info.head` with `Logs.read`. Raises
        `NotFound`."""
        ...

    async def restore(self, dump: SessionDump, events: AsyncIterator[list[Record]]) -> None:
        """Create a session with this content and without owner. It becomes visible only when complete; the next attempt
        replaces the partial result of a crash. Raises `Conflict` when the session exists."""
        ...

    async def dump_shared(self) -> SharedDump: ...

    async def restore_shared(self, dump: SharedDump) -> None:
        """Add settings that do not exist; replace budgets, reservations and lost calls."""
        ...

    async def fact_rows(self, space: str, *, after: int = 0, limit: int = 1000) -> list[StoredFact]:
        """Return all rows of a space added after a version, in order, ended ones included."""
        ...

    async def restore_space(self, space: Space, pages: AsyncIterator[list[StoredFact]]) -> None:
        """Replace a space. The new content becomes visible only when complete."""
        ...

    async def documents(self, after: tuple[str, str] = ("", "")) -> list[Document]:
        """Return a page of all documents behind this kind and id, in this order. Only an empty page is the end."""
        ...

    async def restore_documents(self, documents: Sequence[Document]) -> None:
        """Write documents as they are, with their revisions and times, all or nothing; replace those of the same kind
        and id."""
        ...
