"""Back off from sessions that fail on this machine alone: release them, and retry them here later."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import time
from collections.abc import Iterable

from roost.agent.session import Session
from roost.errors import Fenced, NotFound, SequenceConflict
from roost.kernel.failure_log import FailureLog
from roost.kernel.ownership import Slots
from roost.kernel.signals import Signals
from roost.log.protocols import Append, Claim
from roost.log.store import Store
from roost.workspace.object_store import ObjectsFailed

_WHAT = "sessions cannot be taken up on this machine"
_OTHERS_FIRST = 0.5
"""Seconds in which other nodes may claim a released session first: more than `HEAD_START` and the notification's
delay."""
_LONGEST = 30.0
_SEVERAL = 3
"""Sessions in a row that fail before the fault is taken to be the node's."""
_REMEMBERED = 300.0
"""Seconds after which a session's failures are forgotten."""
_LOCAL = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENOSPC, errno.EROFS}
)


def is_local(error: BaseException) -> bool:
    """Return whether an error may be local to this machine: not the database's, not the session's own, not a defect."""
    return isinstance(error, ObjectsFailed) or (isinstance(error, OSError) and error.errno in _LOCAL)


class Backoff:
    """Release failed sessions to other nodes, and back off. The failures are kept apart from the slots, which they
    outlive.

    After a failure the node claims nothing for a moment. A session that comes back all the same has no other node: it
    backs off here until its delay has passed (doubled by each failure, at most 30 s), then it is retried. When several
    sessions fail in a row, the node offers no free slots and claims nothing for a growing time; sessions still waiting
    for their files are released too.
    """

    def __init__(self, store: Store, slots: Slots, failures: FailureLog, signals: Signals) -> None:
        self._store, self._slots, self._log, self._signals = store, slots, failures, signals
        self._failures: dict[str, tuple[int, float]] = {}
        self._others: frozenset[str] = frozenset()
        self._newcomers = False
        self._in_a_row: set[str] = set()
        self._rounds = 0
        self._no_room = self._away = float("-inf")
        self._last: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def reason(self) -> str | None:
        """Why the node offers no free slots; None when it offers them."""
        if time.monotonic() >= self._no_room:
            return None
        return f"{_WHAT}, so it takes none for a while: {self._last}"

    @property
    def away(self) -> bool:
        """True while the node leaves all work to others."""
        return time.monotonic() < max(self._away, self._no_room)

    def due(self, session: str) -> bool:
        """Whether the session's delay has passed."""
        return time.monotonic() >= self._failures.get(session, (0, 0.0))[1]

    async def give_back(self, live: Session, error: Exception) -> None:
        """Release a session as a crash would leave it: uncommitted work is done again. Raises `StoreFailed`, and
        `Fenced`, `SequenceConflict` or `NotFound` when this node has lost the session."""
        self._note(live.id, error)
        files = live.means.files
        if files is not None and not files.ready:
            with contextlib.suppress(ObjectsFailed):  # its next wake restores the last snapshot
                await files.rested(live.born, live.log.epoch, unsaved=live.state.files_unsaved)
        await self._release(live.id, live.log.epoch, live.log.head)

    async def refuse(self, claim: Claim, error: Exception) -> None:
        """Release a session that could not be woken. Raises as `give_back`."""
        self._note(claim.info.id, error)
        await self._release(claim.info.id, claim.epoch, claim.info.head)

    def worked(self, live: Session) -> None:
        """Reset the back-off after a session went to sleep, if that is evidence: it read its files here, or had failed
        here before."""
        files = live.means.files
        if (live.id not in self._failures) if files is None else not files.ready:
            return
        self._failures.pop(live.id, None)
        self._in_a_row.clear()
        self._rounds, self._no_room = 0, float("-inf")
        if not self._failures:
            self._log.worked(_WHAT)

    def see(self, others: Iterable[str]) -> None:
        """Take the ids of other nodes with free slots, as of this heartbeat."""
        now = frozenset(others)
        self._newcomers = self._newcomers or not now <= self._others
        self._others = now

    async def offer(self) -> None:
        """Release all sessions that back off here when a new node has free slots. Raises `StoreFailed`."""
        if self._newcomers:
            for session in self._slots.of("backing_off"):
                await self.release(session)
            self._newcomers = False

    async def release(self, session: str) -> None:
        """Release a session that backs off here, so that other nodes may claim it. Raises `StoreFailed`."""
        slot = self._slots.get(session)
        if slot is None or slot.state != "backing_off" or (claim := slot.claim) is None:
            return
        self._look_away(_OTHERS_FIRST)
        with contextlib.suppress(Fenced, SequenceConflict, NotFound):
            await self._release(session, claim.epoch, claim.info.head)
        if slot.state == "backing_off" and slot.claim is claim:
            self._slots.move(session, "gone")

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def _release(self, session: str, epoch: int, head: int) -> None:
        await self._store.logs.append(Append(session=session, epoch=epoch, expected=head, bodies=[], release=True))

    def _note(self, session: str, error: Exception) -> None:
        now = time.monotonic()
        self._failures = {one: had for one, had in self._failures.items() if now < had[1] + _REMEMBERED}
        failures = self._failures.get(session, (0, 0.0))[0] + 1
        self._failures[session] = (failures, now + min(2.0 ** (failures - 1), _LONGEST))
        self._last = error
        self._log.failed(_WHAT, error)
        self._in_a_row.add(session)
        self._look_away(_OTHERS_FIRST)
        if len(self._in_a_row) >= _SEVERAL and now >= self._no_room:
            self._rounds += 1
            self._no_room = now + min(2.0**self._rounds, _LONGEST)
            self._in_a_row.clear()
            self._look_away(self._no_room - now)
            for live in self._slots.live.values():
                if live.means.files is not None and not live.means.files.ready:
                    live.interrupts.shut_down(cut=True)
            self._signals.beat.set()

    def _look_away(self, seconds: float) -> None:
        self._away = max(self._away, time.monotonic() + seconds)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._away - time.monotonic(), self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        self._signals.beat.set()
        self._signals.work.set()
