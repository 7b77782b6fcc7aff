"""Periodic duties of a node: heartbeat, timers, time-outs, clean-up and recovery after crashes."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING

from roost.agent.inputs import is_idle
from roost.errors import Conflict, NotFound, StoreCorrupt, StoreFailed, StoreUnreachable, UnknownEvent
from roost.kernel.isolation_watch import look_for_levels
from roost.kernel.state_loader import load_state
from roost.log.events import TimerSet
from roost.log.inputs import ControlInput
from roost.log.protocols import Record, SessionInfo, SessionQuery

if TYPE_CHECKING:
    from roost.kernel.config import KernelConfig
    from roost.kernel.node import Node

log = logging.getLogger("roost.duties")
_LONGEST_SLEEP = 5.0
"""Longest sleep between checks of the timers, in seconds: a stepped clock is noticed this soon."""
_AFTER_FAILURE = 1.0
_BEATS_APART = 0.1
_DUTY_SECONDS = 4.0
"""Seconds for which the holder of a duty is cached; less than `_LONGEST_SLEEP`."""
_TIDY_SECONDS = 600.0
_PAGE = 1000
_EVERY = 1_000_000
_ASKED = 200
"""Most sessions in one query by ids."""
_PAGES = 20
"""Pages of sessions that one clean-up visits: about 0.06 s of work. The next clean-up continues behind them. The walk
is in order of creation: an index by last use would be written by every append."""


class Duties:
    """Run what each node does for itself (heartbeats, reading after others' commits) and the cluster-wide duties
    `timers` and `cleanup`, each held by one node. The node that set a timer fires it too, so a near timer needs no
    message to the duty's holder."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._timers = asyncio.Event()
        self._elsewhere = asyncio.Event()
        self._beat_now = asyncio.Event()
        self._anything = False
        self._looks: set[str] = set()
        self._dues: list[float] = []
        self._duties: dict[str, tuple[bool, float]] = {}
        self._cleaned: str | None = None
        self._cleaned_at = self._recovered_at = time.monotonic()
        self._timed: frozenset[str] = frozenset()

    def start(self) -> list[asyncio.Task[None]]:
        node = self._node
        return [
            asyncio.create_task(self._beats()),
            asyncio.create_task(self._every("cannot fire timers", self._fire)),
            asyncio.create_task(self._every("cannot look at what others wrote", self._look)),
            asyncio.create_task(
                self._every("cannot look for isolation levels", self._levels, lambda: node.config.lease)
            ),
            asyncio.create_task(self._every("cannot clean up", self._clean, lambda: cleanup_pause(node.config))),
            asyncio.create_task(
                self._every("cannot finish what was cut off", self._recover, lambda: node.config.recover_every)
            ),
            asyncio.create_task(self._tidy()),
        ]

    def look_again(self, session: str | None) -> None:
        """Request a fresh read of a session, or of all (None), after another process's commit: inboxes may have grown,
        timers may be new, the session may be gone."""
        if session is None:
            self._anything = True
            self._timers.set()
        else:
            self._looks.add(session)
        self._elsewhere.set()

    def timer_set(self, record: Record) -> None:
        event = record.event
        if isinstance(event, TimerSet):
            # Later timers are read in time by the duty's holder.
            if event.due < self._node.config.clock() + 2 * _LONGEST_SLEEP:
                heapq.heappush(self._dues, event.due)
            self._timers.set()

    def beat_soon(self) -> None:
        """Request a heartbeat soon, because this node's card has changed."""
        self._beat_now.set()

    def lease_lost(self) -> None:
        """Forget the duties: other nodes take them over."""
        self._duties.clear()

    async def hand_over(self) -> None:
        """Release this node's duties. Raises `StoreFailed`."""
        duties, self._duties = self._duties, {}
        for name, (held, _) in duties.items():
            if held:
                await self._node.journal.drop(name, self._node.id)

    async def _every(
        self, what: str, work: Callable[[], Awaitable[None]], seconds: Callable[[], float] = lambda: 0.0
    ) -> None:
        failed = False
        while True:
            pause = min(seconds(), _LONGEST_SLEEP)  # a new configuration may shorten the pause
            await asyncio.sleep(_AFTER_FAILURE if failed else pause)
            try:
                await work()
                self._node.failures.worked(what)
                failed = False
            except Exception as error:  # one damaged session or a full disk must not stop the clock of all others
                self._node.failures.failed(what, error)
                failed = True

    async def _beats(self) -> None:
        lease, node = self._node.config.lease, self._node
        pause = lease / 3
        while True:
            await asyncio.sleep(_BEATS_APART)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(pause - _BEATS_APART, 0)):
                    await self._beat_now.wait()
            self._beat_now.clear()
            what = "cannot renew the lease"
            try:
                await node.renew()
                node.failures.worked(what)
                pause = lease / 3
                what = "cannot take sessions up again"
                await node.retry_parked()
                node.failures.worked(what)
            except Exception as error:  # a node without heartbeats must not look alive
                node.failures.failed(what, error)
                pause = min(lease / 10, _AFTER_FAILURE)

    async def _look(self) -> None:
        await self._elsewhere.wait()
        self._elsewhere.clear()
        anything, self._anything = self._anything, False
        looks, self._looks = self._looks, set()
        try:
            if anything:
                await self._node.look_at_all()
            await self._node.look_at(looks)
        except BaseException:
            self._anything = self._anything or anything
            self._looks |= looks
            self._elsewhere.set()
            raise

    async def _fire(self) -> None:
        self._timers.clear()
        on_duty, clock = await self._has("timers"), self._node.config.clock
        due: float | None = None
        if on_duty or (self._dues and self._dues[0] <= clock()):
            now = clock()
            following = await self._node.dispatcher.fire(now)
            while self._dues and self._dues[0] <= now:
                heapq.heappop(self._dues)
            due = following if on_duty else None
        if self._dues:
            due = self._dues[0] if due is None else min(due, self._dues[0])
        pause = _LONGEST_SLEEP if due is None else min(max(due - clock(), 0.0), _LONGEST_SLEEP)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._timers.wait()

    async def _has(self, duty: str) -> bool:
        """Return whether this node holds a duty. Other nodes ask again after `_DUTY_SECONDS`, and take over from a dead
        holder."""
        node = self._node
        if node.draining or not node.holds_lease:
            return False
        held, until = self._duties.get(duty, (False, 0.0))
        if time.monotonic() >= until:
            held = await node.journal.hold(duty, node.id) is not None
            self._duties[duty] = (held, time.monotonic() + _DUTY_SECONDS)
        return held

    async def _clean(self) -> None:
        config = self._node.config
        if time.monotonic() - self._cleaned_at < cleanup_pause(config) or not await self._has("cleanup"):
            return
        if (config.session_timeout, config.retention) != (None, None):
            await self._walk()
        self._cleaned_at = time.monotonic()

    async def _recover(self) -> None:
        """Complete deletions and settlements that a crash interrupted, every `recover_every` seconds whatever the
        clean-up pause is."""
        if time.monotonic() - self._recovered_at < self._node.config.recover_every or not await self._has("cleanup"):
            return
        await self._node.journal.purge()
        await self.charge_dead()
        await self._node.model_pool.ledger.recover_left(self._over)
        await self._node.model_pool.ledger.prune()
        self._recovered_at = time.monotonic()

    async def charge_dead(self) -> None:
        """Charge the model calls of dead processes, before their sessions are resumed anywhere. Raises
        `StoreFailed`."""
        await self._node.model_pool.ledger.recover_dead(self._living)

    async def _living(self) -> list[str]:
        return [one.card.id for one in await self._node.dispatcher.nodes() if one.alive]

    async def _over(self, sessions: Collection[str]) -> Collection[str]:
        """Return the sessions that are deleted or have no model call in flight. A failed session counts as busy: its
        step is reconciled when a person starts it again."""
        some = tuple(sessions)[:_ASKED]
        there = await self._node.journal.find(SessionQuery(ids=some, limit=len(some)))
        busy = {info.id for info in there if info.phase == "working" or info.state == "error"}
        return set(some) - busy

    async def _walk(self) -> None:
        """Stop sessions idle for `session_timeout`, and delete those stopped for `retention`. Newest first, so children
        are deleted before their parent is visited."""
        self._timed = frozenset(await self._node.journal.with_timers("", limit=_EVERY))
        for _ in range(_PAGES):
            page = await self._node.journal.find(SessionQuery(before=self._cleaned, limit=_PAGE))
            for info in page:
                before, self._cleaned = self._cleaned, info.id  # advance first, whatever fails below
                if await self._deleted(info):
                    self._cleaned = before
            if len(page) < _PAGE:
                self._cleaned = None
                return

    async def _deleted(self, info: SessionInfo) -> bool:
        """Stop or delete a session when its time has come. Returns True when it no longer exists."""
        config, idle, journal = self._node.config, time.time() - info.updated_at, self._node.journal
        try:
            if info.state == "stopped" and config.retention is not None and idle > config.retention:
                if await journal.find(SessionQuery(parent=info.id, limit=1)):
                    return False
                with contextlib.suppress(Conflict):
                    await self._node.deletions.delete(info.id, unused=info)
                    return True
            elif info.id in self._timed or not _rests(info):
                return False
            elif config.session_timeout is not None and idle > config.session_timeout and await self._unused(info):
                await journal.accept(info.id, ControlInput("stop", "unused"), key=f"timeout:{info.head}")
        except NotFound:
            return True
        return False

    async def _unused(self, info: SessionInfo) -> bool:
        try:
            return is_idle(await load_state(self._node.journal, info.id))
        except (UnknownEvent, StoreCorrupt):  # a newer node handles it, or no node can
            return False

    async def _levels(self) -> None:
        await look_for_levels(self._node)

    async def _tidy(self) -> None:
        removal = self._node.deletions
        await removal.empty_bin()
        while self._node.place.tidy:
            try:
                await removal.tidy()
            except (StoreFailed, OSError) as error:
                if not isinstance(error, StoreUnreachable):
                    log.error("cannot look for files that are left over: %s", error)
            await asyncio.sleep(_TIDY_SECONDS)


def _rests(info: SessionInfo) -> bool:
    return info.state in ("running", "paused", "created") and info.phase == "idle" and not info.pending


def cleanup_pause(config: KernelConfig) -> float:
    """Return the shortest of the configured times, in seconds, so that none is noticed late."""
    return min(s for s in (config.cleanup_every, config.session_timeout, config.retention) if s is not None)
