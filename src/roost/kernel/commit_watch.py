"""Hear of commits: offer inputs to the sessions in memory, and compare them with the store after another process's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import cache

from roost.errors import NotFound
from roost.kernel.claims import HINTS_APART, Claims, ClaimsInFlight
from roost.kernel.drivers import Drivers
from roost.kernel.membership import Membership
from roost.kernel.ownership import Slots
from roost.kernel.signals import Signals
from roost.kernel.timers import Timers
from roost.log.events import beginning_of, declaring
from roost.log.protocols import Change, Record, SessionQuery
from roost.log.store import Store

_READS_AT_ONCE = 32
_ALL = 1_000_000
_TIMER_SET = b'{"type":"timer.set"'


class CommitWatch:
    """Compare what this node holds with what is committed."""

    def __init__(
        self,
        store: Store,
        membership: Membership,
        slots: Slots,
        in_flight: ClaimsInFlight,
        signals: Signals,
        claims: Claims,
        drivers: Drivers,
        timers: Timers,
    ) -> None:
        self._store, self._membership, self._slots = store, membership, slots
        self._in_flight, self._signals = in_flight, signals
        self._claims, self._drivers, self._timers = claims, drivers, timers

    def changed(self, change: Change) -> None:
        """Take a commit of this process, or a hint about another's."""
        if change.records is None or change.inbox is None:
            self._changed_elsewhere(change)
            return
        for record in change.records:
            if record.body.startswith(_TIMER_SET):
                self._timers.set(record)
            elif self._membership.config.only is not None and record.body.startswith(_starting()):
                self._take_started(change.session, record)
        if change.inbox:
            live = self._slots.live.get(change.session)
            if live is not None:
                self._drivers.offer(live, change.inbox)
                return
            self._signals.work.set()
            self._in_flight.add(change.session, change.inbox)

    async def look(self) -> None:
        """Wait until a fresh read is asked for, and make it. Raises `StoreFailed`; then it is asked for again."""
        await self._signals.reread.wait()
        everything, sessions = self._signals.take_rereads()
        try:
            if everything:
                await self._look_at_all()
            await self._look_at(sessions)
        except BaseException:
            if everything:
                self._signals.look_again(None)
            for session in sessions:
                self._signals.look_again(session)
            raise

    def _changed_elsewhere(self, change: Change) -> None:
        if not change.session:
            self._signals.work.set()
            self._signals.look_again(None)
        elif change.session in self._slots.live:
            self._signals.look_again(change.session)
        else:
            self._in_flight.unknown(change.session)
            if change.records is None and change.inbox is None:
                self._claims.look_soon()

    def _take_started(self, session: str, record: Record) -> None:
        """Add a session that got work to `only` when the one that gave it is there, so that this node also runs it."""
        only, started = self._membership.config.only, record.event.starts
        if only is not None and session in only and started is not None:
            only.add(started)
            self._signals.work.set()

    async def _look_at_all(self) -> None:
        """Compare all sessions in memory with the index, by one query. Resume sessions that the store assigns to this
        node and that it does not run: they come from claims whose response was lost."""
        known = dict(self._slots.live)
        busy = bool(self._in_flight)
        rows = await self._store.sessions.find(SessionQuery(owner=self._membership.id, limit=_ALL))
        ours = {info.id: info for info in rows}
        for session, live in known.items():
            info = ours.get(session)
            if (info is None or info.epoch > live.log.epoch) and self._slots.live.get(session) is live:
                self._slots.move(session, "fence")
        if busy or self._in_flight:  # claims under way may be among the rows
            asyncio.get_running_loop().call_later(HINTS_APART, self._signals.look_again, None)
        elif self._membership.holds_lease:
            for session in ours:
                if self._slots.state(session) in ("released", "fenced"):
                    self._slots.move(session, "found")
                    self._signals.retry = True
            self._signals.work.set()
        await self._look_at(session for session in known if (info := ours.get(session)) and info.pending)

    async def _look_at(self, sessions: Iterable[str]) -> None:
        """Read these sessions: take new inputs, and fence sessions that were lost."""
        names = [session for session in sessions if session in self._slots.live]
        for start in range(0, len(names), _READS_AT_ONCE):
            await asyncio.gather(*map(self._read, names[start : start + _READS_AT_ONCE]))

    async def _read(self, session: str) -> None:
        try:
            info = await self._store.sessions.get(session)
            inbox = await self._store.inboxes.pending(session) if info.pending else []
        except NotFound:
            info, inbox = None, []
        live = self._slots.live.get(session)
        if live is None:
            return
        lost = info is None or info.epoch > live.log.epoch
        if lost or (info is not None and info.epoch == live.log.epoch and info.owner != self._membership.id):
            self._slots.move(session, "fence")
        live.interrupts.offer(inbox)


@cache
def _starting() -> tuple[bytes, ...]:
    return tuple(map(beginning_of, declaring("starts")))
