"""Buffer of a session's uncommitted events, and their commit to the store."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from roost.agent.fold import apply
from roost.agent.inbox import Inbox
from roost.agent.state import STATE_VERSION, State, encode_state
from roost.errors import Fenced, StoreCorrupt, StoreFailed, StoreUnreachable
from roost.log import events as ev
from roost.log.facts import FactChange, FactWrite
from roost.log.protocols import Append, CheckpointRow, Claim, Delivery, InboxItem, Moved, Snapshot, TimerSpec
from roost.log.session_info import Phase, SessionState
from roost.policy.vault import Vault

log = logging.getLogger("roost.session")
SNAPSHOT_EVENTS = 256
SNAPSHOT_BYTES = 64 * 1024
_RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_UNREACHABLE_PAUSE = 0.5
_SOON = 0.2
"""Seconds until a soft flush, unless another commit takes the events along earlier."""


class Appends(Protocol):
    """The part of `Logs` that a session in memory needs."""

    async def append(self, append: Append) -> int: ...


class _Beside(msgspec.Struct):
    """Additions to the events of a commit: consumed inputs, timers, deliveries and others; as in `Append`."""

    consume: list[int] = []
    timers: dict[str, TimerSpec | None] = {}
    deliver: list[Delivery] = []
    checkpoint: CheckpointRow | None = None
    drop_checkpoints: list[int] = []
    facts: list[FactWrite] = []
    moved: Moved | None = None

    def join(self, write: Append) -> None:
        write.consume, write.deliver, write.facts, write.moved = self.consume, self.deliver, self.facts, self.moved
        write.checkpoint, write.drop_checkpoints = self.checkpoint, self.drop_checkpoints
        write.timers = [timer for timer in self.timers.values() if timer is not None]
        write.clear_timers = [name for name, timer in self.timers.items() if timer is None]


class LogBuffer:
    """Collect the next commit: events applied to `state`, inputs consumed from `inbox`, timers. `head` is the position
    of the newest committed event. Values of the `vault` are masked in events. Once `stopped` is set, a failed append is
    not retried."""

    def __init__(
        self,
        journal: Appends,
        claim: Claim,
        state: State,
        inbox: Inbox,
        *,
        vault: Vault | None = None,
        stopped: asyncio.Event,
    ) -> None:
        self.head = claim.info.head
        self.epoch = claim.epoch
        self._session = claim.info.id
        self._journal, self._state, self._stopped = journal, state, stopped
        self._inbox, self._vault = inbox, vault
        self._stored: tuple[SessionState, Phase] = (claim.info.state, claim.info.phase)
        self._bodies: list[bytes] = []
        self._kept: _Beside | None = None
        self._snapshot_due = False
        self._lock = asyncio.Lock()
        self._soon: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[None] | None = None
        self._broken: Exception | None = None
        self.refused: Append | None = None
        """The last append that the store refused."""
        self._tail_events = len(claim.tail)
        self._tail_bytes = sum(len(record.body) for record in claim.tail)
        self._snapshot_bytes = len(claim.snapshot.body) if claim.snapshot else 0

    def note(
        self,
        event: ev.Event,
        *,
        consume: int | None = None,
        facts: Sequence[FactChange] = (),
        deliver: Sequence[Delivery] = (),
    ) -> None:
        """Apply an event to the state now; the next `flush` commits it.

        consume: id of the inbox item that it uses up. facts: its changes of the memory. deliver: its messages to other
        sessions. All are part of the same commit."""
        body = ev.encode_event(event)
        if self._vault is not None:
            text = body.decode()
            if (clean := self._vault.scrub(text)) is not text:
                body = clean.encode()
                event = ev.decode_event(body)
        apply(self._state, event)
        self._bodies.append(body)
        if deliver:
            self._beside.deliver += deliver
        if facts:
            self._beside.facts += [FactWrite(len(self._bodies), change) for change in facts]
        if consume is not None:
            self._consume(consume)

    def drop(self, item: InboxItem) -> None:
        """Remove an input that has no effect any more from the inbox."""
        self._consume(item.id)

    def _consume(self, item: int) -> None:
        self._beside.consume.append(item)
        self._inbox.take(item)

    async def emit(self, name: str, data: Any) -> None:
        """Append an event of the user's program. Returns once it is committed, even if the caller is cancelled."""
        self.note(ev.Emitted(at=time.time(), name=name, data=data))
        await self.flush_shielded()

    def move(self, moved: Moved) -> None:
        """Record the move to another version of the agent that the newest added event announced."""
        self._beside.moved = moved

    def set_timer(self, timer: str, spec: TimerSpec | None) -> None:
        self._beside.timers[timer] = spec

    def keep(self, checkpoint: CheckpointRow) -> None:
        """Store a checkpoint of the current state; its event was added last."""
        self._beside.checkpoint = checkpoint

    def drop_checkpoints(self, positions: Sequence[int]) -> None:
        self._beside.drop_checkpoints += positions

    def write_snapshot(self) -> None:
        """Write a state snapshot with the next commit, so that no reader has to fold the events added so far."""
        self._snapshot_due = True

    def fence(self) -> None:
        """Refuse all further writes: another node owns the session, or may own it."""
        if self._broken is None:
            self._broken = Fenced(f"session {self._session!r} is not this node's any more")

    async def flush(self, *, release: bool = False) -> None:
        """Commit the noted events. Must return before any effect that a noted intent announces.

        A failed append is retried until the session is told to shut down. Raises the store's error after that, and at
        once when the session has a newer owner or the store is closed or damaged. release: give the lease back in the
        same commit."""
        await self._lock.acquire()
        try:
            if self._broken is not None:
                raise self._broken
            if not (self._bodies or self._kept is not None or release):
                return
            write = self._write(release=release)
            try:
                try:
                    self.head = await self._journal.append(write)
                except StoreFailed as error:
                    self.head = await self._append_again(write, error)
            except Exception as error:  # any failure ends writing: later events would follow a gap in the log
                self._broken, self.refused = error, write
                raise
        finally:
            self._lock.release()

    async def flush_shielded(self) -> None:
        """Flush from a task that may be cancelled: the commit goes on."""
        await asyncio.shield(self._begin_flush())

    def flush_soon(self) -> None:
        """Commit the noted events soon, together with those noted until then. A failure is raised by the next
        `flush`."""
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(_SOON, self._begin_flush)

    def _begin_flush(self) -> asyncio.Future[None]:
        self._writing = writing = asyncio.ensure_future(self.flush())
        writing.add_done_callback(lambda done: done.cancelled() or done.exception())  # raised by the next flush
        return writing

    def _write(self, *, release: bool) -> Append:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        bodies, self._bodies = self._bodies, []
        (stored, in_phase), state = self._stored, self._state
        self._stored = now, phase = state.state, state.phase
        self._tail_events += len(bodies)
        self._tail_bytes += sum(map(len, bodies))
        write = Append(
            session=self._session,
            epoch=self.epoch,
            expected=self.head,
            bodies=bodies,
            state=None if now == stored else now,
            phase=None if phase == in_phase else phase,
            snapshot=self._snapshot(self.head + len(bodies)),
            release=release,
        )
        if self._kept is not None:
            self._kept.join(write)
            self._kept = None
        return write

    @property
    def _beside(self) -> _Beside:
        if self._kept is None:
            self._kept = _Beside()
        return self._kept

    def _snapshot(self, seq: int) -> Snapshot | None:
        """Return a state snapshot once the tail outgrew the last one: its cost per event stays bounded for any state
        size."""
        if (
            not self._snapshot_due
            and self._tail_bytes < max(SNAPSHOT_BYTES, self._snapshot_bytes)
            and self._tail_events < SNAPSHOT_EVENTS
        ):
            return None
        body = encode_state(self._state)
        self._tail_bytes = self._tail_events = 0
        self._snapshot_due = False
        self._snapshot_bytes = len(body)
        return Snapshot(seq, STATE_VERSION, body)

    async def _append_again(self, write: Append, error: StoreFailed) -> int:
        failures = 0
        while True:
            if self._broken is not None:
                raise self._broken from error
            if self._stopped.is_set() or error.code == "store_closed" or isinstance(error, StoreCorrupt):
                raise error
            pause = _RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)]
            if isinstance(error, StoreUnreachable):  # the store has waited already, and the kernel logs the outage once
                pause = min(pause, _UNREACHABLE_PAUSE)
            elif not failures:
                log.error("session %s: cannot write, trying again until it works: %s", self._session, error)
            failures += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), pause)
            try:
                return await self._journal.append(write)
            except StoreFailed as again:
                error = again
