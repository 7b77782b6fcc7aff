"""The Journal: the one store of record. Everything durable in Roost is written through these methods.

All methods are coroutines of one event loop and safe to call concurrently. A method that returns has committed
(fsync included); a method that raises has changed nothing. The exception is `StoreUnreachable`: the database went away
while it was asked, and whether it committed is not known; every write may be repeated then (an input: with its key).
`roost.testing.journal` is the conformance suite.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from roost.errors import Invalid
from roost.log.events import Event, Phase, SessionState, TurnOutcome, decode_event
from roost.log.facts import FactWrite
from roost.log.inputs import Input

READ_BYTES = 256 * 1024
"""After this many bytes a `read` returns what it has, so that large events do not fill the memory."""


class Record(NamedTuple):
    """One entry of a log: its sequence number (1, 2, 3 … without gaps) and its bytes as stored."""

    seq: int
    body: bytes

    @property
    def event(self) -> Event:
        return decode_event(self.body)


class InboxItem(NamedTuple):
    """`id` grows with every input of the session, in the order of their commits. Numbers may be missing."""

    id: int
    input: Input
    accepted_at: float


class Accepted(NamedTuple):
    """`duplicate`: the idempotency key was seen before and `id` is the item that it made then. `head`: where the log
    ended at that moment; all that comes of a new item is behind it."""

    id: int
    duplicate: bool
    head: int


class Snapshot(NamedTuple):
    """The session's folded state after event `seq`, in a form that only the fold's `version` can read."""

    seq: int
    version: int
    body: bytes


class Checkpoint(NamedTuple):
    """A position of a log that can be gone back to until it is dropped. `cause`: why it was made. `files`: the snapshot
    of the private files; None where none belongs to it. `memory`: the version of the memory."""

    seq: int
    label: str | None
    made_at: float
    cause: str
    files: str | None = None
    memory: int | None = None


class CheckpointRow(NamedTuple):
    """A checkpoint with the state at its position: `snapshot.seq` is `seq`."""

    seq: int
    label: str | None
    made_at: float
    cause: str
    files: str | None
    memory: int | None
    snapshot: Snapshot


class Delivery(NamedTuple):
    """An input that a session's events put into the inbox of another session, or their own. `key` is its idempotency
    key there: delivered twice it is there once."""

    session: str
    input: Input
    key: str


class Moved(NamedTuple):
    """What a session's index row says of its definition from now on."""

    version: str
    needs: tuple[str, ...]


class TimerSpec(NamedTuple):
    """Comes due at wall time `due` (seconds); its input is then put into the inbox, exactly once."""

    id: str
    due: float
    input: Input


class LastTurn(msgspec.Struct, frozen=True):
    """The turn of a session that ended last. `reason` names the limit or the error when it has no answer."""

    number: int
    outcome: TurnOutcome
    reason: str | None = None


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the session index: what can be known of a session without reading its log."""

    id: str
    agent: str
    version: str
    state: SessionState
    phase: Phase
    head: int
    created_at: float
    updated_at: float
    workspace: str | None = None
    title: str | None = None
    parent: str | None = None
    labels: dict[str, str] = {}
    owner: str | None = None
    epoch: int = 0
    pending: int = 0
    """Inputs accepted and not yet taken."""
    needs: tuple[str, ...] = ()
    """What a node must offer to run it."""
    home: str | None = None
    """Of the node that ran it last: where its private files are."""
    format: int = 0
    """The newest event format of the nodes that ran it: its log may hold such events."""
    last_turn: LastTurn | None = None
    """Not of the row: `roost.kernel.sessions` reads it from the log's end where it is asked for. None while a turn
    runs, and where the end of the last one is further back than is read."""


class NewSession(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    agent: str
    version: str
    workspace: str | None = None
    title: str | None = None
    parent: str | None = None
    labels: dict[str, str] = {}
    needs: tuple[str, ...] = ()


class Append(msgspec.Struct, kw_only=True):
    """One atomic write of a session's owner: events and everything that must be true together with them."""

    session: str
    epoch: int
    expected: int
    """The head that the writer knows; the first event gets `expected + 1`."""
    bodies: Sequence[bytes] = ()
    """Encoded events, in order."""
    consume: Sequence[int] = ()
    """Inbox items that these events take in. Each must be pending, or the append raises `SequenceConflict`."""
    state: SessionState | None = None
    phase: Phase | None = None
    snapshot: Snapshot | None = None
    timers: Sequence[TimerSpec] = ()
    clear_timers: Sequence[str] = ()
    deliver: Sequence[Delivery] = ()
    """Accepted as by `accept`. One that `accept` would refuse because its target is gone or takes no conversation, or
    for its key, is dropped without a word; a full inbox takes it all the same."""
    checkpoint: CheckpointRow | None = None
    """Takes the place of one at the same position."""
    drop_checkpoints: Sequence[int] = ()
    """Their positions; what is not there is no error."""
    facts: Sequence[FactWrite] = ()
    """Changes of the memory (`roost.log.facts`)."""
    moved: Moved | None = None
    release: bool = False
    """Give the lease back in the same commit."""


class Claim(NamedTuple):
    """Ownership of a session, with all that is needed to wake it: newest snapshot, the events after it, the inbox."""

    info: SessionInfo
    epoch: int
    snapshot: Snapshot | None
    tail: list[Record]
    inbox: list[InboxItem]


class Change(NamedTuple):
    """Something was committed. None means "not known here: look"; an empty session means "any session".

    What other nodes commit comes in three kinds. `records` None, `inbox` empty: the log goes on, under the owner that
    it has. `inbox` None, `records` empty: an input that the owner takes. Both None: anything, also work that nobody
    has taken. Only the last is a reason to claim.
    """

    session: str
    records: Sequence[Record] | None = ()
    inbox: Sequence[InboxItem] | None = ()


class SessionQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A filter. Sessions are returned by age, newest first; `before` continues from the last id of a page.
    `ids`: of those named; a few hundred at most."""

    agent: str | None = None
    state: SessionState | None = None
    parent: str | None = None
    owner: str | None = None
    label: tuple[str, str] | None = None
    ids: tuple[str, ...] | None = None
    before: str | None = None
    limit: int = 50


class Journal(Protocol):
    async def create(self, session: NewSession, events: Sequence[Event], *, key: str | None = None) -> SessionInfo:
        """Make a session with its first events. With a `key` seen before, return the session that it made then.
        Raises `Conflict` when the id is taken."""
        ...

    async def fork(
        self,
        source: str,
        at: int,
        session: NewSession,
        snapshot: Snapshot,
        events: Sequence[Event],
        *,
        key: str | None = None,
        state: SessionState = "created",
        phase: Phase = "idle",
    ) -> SessionInfo:
        """Make a session whose log begins as that of `source` up to and with event `at`, and goes on with `events`.
        What they have in common is stored once, so the cost does not depend on `at`; either lives on when the other is
        deleted. It has an empty inbox, no timers and no owner, and the source's `format`. `snapshot` is its state
        after an event from `at` on; `state` and `phase` are those of its index row. `key` and `Conflict` as in
        `create`. Raises `NotFound`, and `Invalid` when the source has no event `at` or the snapshot is of another
        part of the log."""
        ...

    async def append(self, append: Append) -> int:
        """Write, and return the new head. An append that is in the log already, by this epoch and with these bytes, is
        not written again. Raises `Fenced` when `epoch` is not the session's newest or the lease is not
        held, `SequenceConflict` when `expected` is not its head, `NotFound`, `StoreFailed`."""
        ...

    async def read(self, session: str, *, after: int = 0, limit: int = 1000) -> list[Record]:
        """Records with `seq > after`, oldest first: at most `limit`, and no more once they pass `READ_BYTES`. Empty
        only at the head. Raises `NotFound`."""
        ...

    def tail(self, session: str, *, after: int = 0) -> AsyncIterator[Record]:
        """Replay from `after`, then follow for ever: every record once, in order, whoever wrote it. Ends when the
        session is deleted or the journal closed."""
        ...

    async def accept(self, session: str, item: Input, *, key: str | None = None, sent: Input | None = None) -> Accepted:
        """Put an input into the inbox. An idempotency `key` is unique per session for the session's life: a repetition
        returns what the first one made, whatever happened since. `sent` is what its sender gave where `item` is not
        that (a secret is masked in it): it alone tells a repetition from another input, and it is not kept. Raises
        `NotFound`, `Busy` when the inbox is full, and `Conflict` (`session_stopped`, `session_error`) for conversation
        that such a session does not take."""
        ...

    async def pending(self, session: str) -> list[InboxItem]:
        """The inbox, oldest first."""
        ...

    async def get(self, session: str) -> SessionInfo:
        """Raises `NotFound`."""
        ...

    async def find(self, query: SessionQuery) -> list[SessionInfo]: ...

    async def snapshot(self, session: str, *, at: int | None = None) -> Snapshot | None:
        """The newest snapshot, those of checkpoints included; with `at`, the newest of `seq <= at`. A fork has those of
        the logs that its own begins with, as long as they are there. Raises `NotFound`."""
        ...

    async def checkpoints(self, session: str) -> list[Checkpoint]:
        """Its own, newest first. Raises `NotFound`."""
        ...

    async def with_timers(
        self, prefix: str, *, fired: str | None = None, after: str = "", limit: int = 1000
    ) -> list[str]:
        """The sessions that have a timer whose id begins so, by id; those that come after `after`. Also those whose
        inbox holds an input of the type `fired`, which is what such a timer leaves there when it is due."""
        ...

    async def delete(self, session: str, *, epoch: int | None = None) -> None:
        """Remove the session and all that belongs to it. Raises `NotFound`; `Conflict` while a living node owns it,
        unless `epoch` says that it is the caller's."""
        ...

    async def purge(self) -> None:
        """Finish the deletions whose node did not live to remove all of the log. One node is to do so now and then."""
        ...

    def watch(self, listener: Callable[[Change], None], *, session: str | None = None) -> Callable[[], None]:
        """Call `listener` on the event loop after every commit (of one session, if named), whoever made it; may
        coalesce. It must be quick and must not raise. A change with an empty session means "anything may have
        changed". Returns the way to stop it."""
        ...

    async def close(self) -> None: ...


def check_fork(source: str, head: int, at: int, snapshot: Snapshot, events: int) -> None:
    """For `Journal.fork` of a log that ends at `head`. Raises `Invalid`."""
    if not 1 <= at <= head:
        raise Invalid(f"session {source!r} has no event {at}: its log ends at {head}")
    if not at <= snapshot.seq <= at + events:
        raise Invalid(f"a fork at event {at} cannot begin with a snapshot of event {snapshot.seq}")
