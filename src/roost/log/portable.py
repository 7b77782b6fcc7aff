"""A store's content in a form that any other store takes: for moving house, and for comparing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

import msgspec

from roost.log.fact_rows import StoredFact
from roost.log.facts import Space
from roost.log.inputs import decode_input, urgency
from roost.log.protocols import CheckpointRow, Record, SessionInfo, Snapshot
from roost.log.shared import LostCall


class StoredInput(NamedTuple):
    """An inbox row, taken ones with a key included: their body is empty, their key still answers repetitions."""

    id: int
    key: str | None
    digest: bytes | None
    accepted_at: float
    taken: bool
    body: bytes

    @property
    def urgency(self) -> int:
        """Of one that cannot be read: as of conversation. Whoever wakes the session finds out."""
        try:
            return 0 if self.taken else urgency(decode_input(self.body))
        except msgspec.MsgspecError:
            return 0


class StoredTimer(NamedTuple):
    id: str
    due: float
    body: bytes


class SessionDump(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of a session but its events. `info.owner` means nothing elsewhere."""

    info: SessionInfo
    create_key: str | None
    inputs: int
    """The highest number that an input got: later ones get higher ones."""
    inbox: tuple[StoredInput, ...]
    timers: tuple[StoredTimer, ...]
    snapshot: Snapshot | None
    checkpoints: tuple[CheckpointRow, ...] = ()
    """Oldest first."""


class SharedDump(msgspec.Struct, frozen=True, kw_only=True):
    """`settings` by name, `budgets` as (spent, reserved) by name, `reservations`: id → budget → amount. `calls`: the
    lost ones. The notes of calls under way are not moved: their reservations count in full."""

    settings: dict[str, str]
    budgets: dict[str, tuple[int, int]]
    reservations: dict[str, dict[str, int]]
    calls: tuple[LostCall, ...] = ()


class Portable(Protocol):
    def sessions(self) -> AsyncIterator[str]:
        """The id of every session, oldest first."""
        ...

    async def dump(self, session: str) -> SessionDump:
        """One consistent view; the events up to `info.head` are read with `Journal.read`. Raises `NotFound`."""
        ...

    async def restore(self, dump: SessionDump, events: AsyncIterator[list[Record]]) -> None:
        """Make a session with this content and without owner. Nothing of it is seen before all of it is there; what a
        crash left half-way is replaced by the next try. Raises `Conflict` when the session is there already."""
        ...

    async def dump_shared(self) -> SharedDump: ...

    async def restore_shared(self, dump: SharedDump) -> None:
        """Settings that exist stay as they are; budgets, reservations and lost calls are replaced."""
        ...

    async def fact_rows(self, space: str, *, after: int = 0, limit: int = 1000) -> list[StoredFact]:
        """All rows of a space that came after a version, in order, those that have ended included."""
        ...

    async def restore_space(self, space: Space, pages: AsyncIterator[list[StoredFact]]) -> None:
        """Put a space in the place of the one that is there. It is seen when it is whole."""
        ...
