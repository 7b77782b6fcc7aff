"""Sessions in the store of record: their index, logs, inboxes, and the changes that it reports.

Everything durable in Roost is written through the objects of a store (`roost.log.store`). All their methods are
coroutines of one event loop and safe to call concurrently. A method that returns has committed (fsync included). A
method that raises has changed nothing, with one exception: after `StoreUnreachable` the caller does not know whether
the write committed. Every write may then be repeated (an input: with its key). `roost.testing.journal` is the
conformance suite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from roost.errors import Invalid
from roost.log.events import Event, decode_event
from roost.log.facts import FactWrite
from roost.log.inputs import Input
from roost.log.session_info import Phase, SessionInfo, SessionState

READ_BYTES = 256 * 1024
"""A `read` returns early once its records pass this many bytes, so that large events do not fill the memory."""


class Record(NamedTuple):
    """One entry of a log: its sequence number (1, 2, 3 … without gaps) and its bytes as stored."""

    seq: int
    body: bytes

    @property
    def event(self) -> Event:
        return decode_event(self.body)


class InboxItem(NamedTuple):
    """An input that waits in a session's inbox. id: grows with every input of the session, in commit order; numbers may
    be missing. accepted_at: wall time, seconds."""

    id: int
    input: Input
    accepted_at: float


class Accepted(NamedTuple):
    """What `accept` returns. id: the inbox item. duplicate: the idempotency key was seen before, and `id` is the item
    that it made then. head: the log's head at that moment; all events that follow from a new item come after it."""

    id: int
    duplicate: bool
    head: int


class Snapshot(NamedTuple):
    """A state snapshot: the folded state after event `seq`. Only a fold of the same `version` can read `body`."""

    seq: int
    version: int
    body: bytes


class Checkpoint(NamedTuple):
    """A position of a log that a rollback can return to until the checkpoint is dropped. cause: why it was made. files:
    the snapshot of the private files, None if it has none. memory: the version of the memory."""

    seq: int
    label: str | None
    made_at: float
    cause: str
    files: str | None = None
    memory: int | None = None


class CheckpointRow(NamedTuple):
    """A checkpoint with the state snapshot at its position: `snapshot.seq` equals `seq`."""

    seq: int
    label: str | None
    made_at: float
    cause: str
    files: str | None
    memory: int | None
    snapshot: Snapshot


class Delivery(NamedTuple):
    """An input that a session's events put into an inbox: another session's, or its own. key: the idempotency key in
    that inbox; a second delivery under it adds nothing."""

    session: str
    input: Input
    key: str


class Moved(NamedTuple):
    """The agent version and the needs that the session's index row has from now on."""

    version: str
    needs: tuple[str, ...]


class TimerSpec(NamedTuple):
    """A durable timer. At wall time `due` (seconds) its input is put into the inbox, exactly once."""

    id: str
    due: float
    input: Input


class NewSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session to create. id: unique in the store. agent, version: the pinned definition. needs: tags that a node must
    offer. most: sessions that its account, which is a label, may have with this one; None for any number. The store
    keeps all of it but `most`."""

    id: str
    agent: str
    version: str
    workspace: str | None = None
    title: str | None = None
    parent: str | None = None
    labels: dict[str, str] = {}
    needs: tuple[str, ...] = ()
    most: int | None = None

    @property
    def kept(self) -> dict[str, Any]:
        """What the session's row says of it."""
        return {name: getattr(self, name) for name in self.__struct_fields__ if name != "most"}


class Append(msgspec.Struct, kw_only=True):
    """One atomic write by a session's owner: events, and every change that must commit with them."""

    session: str
    epoch: int
    expected: int
    """The head that the writer knows. The first event gets `expected + 1`."""
    bodies: Sequence[bytes] = ()
    """Encoded events, in order."""
    consume: Sequence[int] = ()
    """Ids of the inbox items that these events consume. Each must be pending, or the append raises
    `SequenceConflict`."""
    state: SessionState | None = None
    phase: Phase | None = None
    snapshot: Snapshot | None = None
    timers: Sequence[TimerSpec] = ()
    clear_timers: Sequence[str] = ()
    deliver: Sequence[Delivery] = ()
    """Accepted as by `accept`. A delivery that `accept` would refuse because of its target (deleted, or not open to
    conversation) or its key is dropped silently. A full inbox does not refuse it."""
    checkpoint: CheckpointRow | None = None
    """Replaces a checkpoint at the same position."""
    drop_checkpoints: Sequence[int] = ()
    """Positions of checkpoints to drop. A position without a checkpoint is no error."""
    facts: Sequence[FactWrite] = ()
    """Changes of the memory (`roost.log.facts`)."""
    moved: Moved | None = None
    release: bool = False
    """Release the lease in the same commit."""


class Claim(NamedTuple):
    """Ownership of a session, with everything needed to wake it: the newest state snapshot, the events after it
    (`tail`), and the inbox."""

    info: SessionInfo
    epoch: int
    snapshot: Snapshot | None
    tail: list[Record]
    inbox: list[InboxItem]


class Change(NamedTuple):
    """A hint that something was committed. `records` or `inbox` None means "not known here: read the store". An empty
    session means "any session".

    Commits of other nodes come in three kinds. `records` None, `inbox` empty: the present owner appended events.
    `inbox` None, `records` empty: an input arrived that the owner will consume. Both None: anything, including work
    that no node has claimed. Only the last kind is a reason to claim.
    """

    session: str
    records: Sequence[Record] | None = ()
    inbox: Sequence[InboxItem] | None = ()


class SessionQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A filter. Sessions are returned newest first; `before` continues after the last id of a page. ids: only these
    sessions, a few hundred at most. account: only those that belong to it. key: only the one that was created with it.
    skip: leave out so many of the newest."""

    agent: str | None = None
    state: SessionState | None = None
    parent: str | None = None
    owner: str | None = None
    label: tuple[str, str] | None = None
    ids: tuple[str, ...] | None = None
    account: str | None = None
    key: str | None = None
    before: str | None = None
    skip: int = 0
    limit: int = 50


class SessionIndex(Protocol):
    """The part of a store that keeps sessions: it creates, finds and deletes them."""

    async def create(self, session: NewSession, events: Sequence[Event], *, key: str | None = None) -> SessionInfo:
        """Create a session with its first events. With a `key` seen before, return the session that it made then.
        Raises `Conflict` when the id is taken, and `TooManySessions` when its account has as many as it may: of
        requests at the same time only so many succeed as there is room for."""
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
        """Create a session whose log starts as a copy of `source` up to and including event `at`, followed by `events`.
        The shared part is stored once, so the cost does not depend on `at`, and each session outlives the deletion of
        the other. The fork has an empty inbox, no timers, no owner, and the source's `format`.

        snapshot: the fork's state after event `at` or one of `events`. state, phase: those of its index row. `key`,
        `Conflict` and `TooManySessions`: as in `create`. Raises `NotFound`, and `Invalid` when the source has no event
        `at` or the snapshot is of another part of the log.
        """
        ...

    async def get(self, session: str) -> SessionInfo:
        """Return the session's index row. Raises `NotFound`."""
        ...

    async def find(self, query: SessionQuery) -> list[SessionInfo]: ...

    async def with_timers(
        self, prefix: str, *, fired: str | None = None, after: str = "", limit: int = 1000
    ) -> list[str]:
        """Return the ids of sessions that have a timer whose id starts with `prefix`, in order of id, from the first id
        after `after`. With `fired`, include sessions whose inbox holds an input of that type: the input that such a
        timer leaves when it comes due."""
        ...

    async def delete(self, session: str, *, epoch: int | None = None) -> None:
        """Remove the session and everything that belongs to it. Raises `NotFound`, and `Conflict` while a living node
        owns it, unless `epoch` proves that the caller is that owner."""
        ...

    async def purge(self) -> None:
        """Finish deletions that a node began and did not live to complete. One node calls this now and then."""
        ...


class Logs(Protocol):
    """The part of a store that keeps the sessions' events and snapshots. `roost.log.tail.follow` reads a log as it
    grows."""

    async def append(self, append: Append) -> int:
        """Write, and return the new head. An append that this epoch already wrote with these bytes is not written
        again. Raises `Fenced` when `epoch` is not the session's newest or the lease is not held, `SequenceConflict`
        when `expected` is not the head, `NotFound`, `StoreFailed`."""
        ...

    async def read(self, session: str, *, after: int = 0, limit: int = 1000) -> list[Record]:
        """Return records with `seq > after`, oldest first: at most `limit`, and none after those that pass
        `READ_BYTES`. Empty only at the head. Raises `NotFound`."""
        ...

    async def snapshot(self, session: str, *, at: int | None = None) -> Snapshot | None:
        """Return the newest state snapshot, those of checkpoints included; with `at`, the newest with `seq <= at`. A
        fork also has the snapshots of the logs that its own starts with, as long as those exist. Raises `NotFound`."""
        ...

    async def checkpoints(self, session: str) -> list[Checkpoint]:
        """Return the session's own checkpoints, newest first. Raises `NotFound`."""
        ...


class Inboxes(Protocol):
    """The part of a store that keeps the inputs of sessions until they are consumed."""

    async def accept(self, session: str, item: Input, *, key: str | None = None, sent: Input | None = None) -> Accepted:
        """Put an input into the inbox. An idempotency `key` is unique within a session for the session's whole life: a
        repetition returns the result of the first call.

        sent: the input as its sender gave it, when `item` differs from that (a secret is masked in `item`). Only `sent`
        decides whether a call is a repetition, and it is not stored. Raises `NotFound`, `Busy` when the inbox is full,
        and `Conflict` (`session_stopped`, `session_error`) for conversation that a session in that state refuses.
        """
        ...

    async def pending(self, session: str) -> list[InboxItem]:
        """Return the inbox, oldest first."""
        ...


class Changes(Protocol):
    """The part of a store that reports commits."""

    def watch(self, listener: Callable[[Change], None], *, session: str | None = None) -> Callable[[], None]:
        """Call `listener` on the event loop after every commit (of one session, if named), by any writer. Calls may
        coalesce. The listener must be quick and must not raise. A change with an empty session means "anything may have
        changed". Returns a function that stops it."""
        ...


def check_fork(source: str, head: int, at: int, snapshot: Snapshot, events: int) -> None:
    """Check the arguments of `SessionIndex.fork` for a source log that ends at `head`. Raises `Invalid`."""
    if not 1 <= at <= head:
        raise Invalid(f"session {source!r} has no event {at}: its log ends at {head}")
    if not at <= snapshot.seq <= at + events:
        raise Invalid(f"a fork at event {at} cannot begin with a snapshot of event {snapshot.seq}")
