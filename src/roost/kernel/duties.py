"""The kernel's clockwork: the node's heartbeat, timers, time-outs and clean-up."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING

from roost.agent.inputs import unused
from roost.errors import Conflict, NotFound, StoreCorrupt, StoreFailed, StoreUnreachable, UnknownEvent
from roost.kernel.isolation_watch import look_for_levels
from roost.kernel.state_loader import load_state
from roost.log.events import TimerSet
from roost.log.inputs import ControlInput
from roost.log.protocols import Record, SessionInfo, SessionQuery

if TYPE_CHECKING:
    from roost.kernel.config import KernelConfig
    from roost.kernel.kernel import Kernel

log = logging.getLogger("roost.keeper")
_LONGEST_SLEEP = 5.0
"""Between looks at the timers: a clock that is stepped is noticed this soon."""
_AFTER_FAILURE = 1.0
_BEATS_APART = 0.1
_DUTY_SECONDS = 4.0
"""For how long the answer to who has a duty is believed; less than `_LONGEST_SLEEP`."""
_TIDY_SECONDS = 600.0
_PAGE = 1000
_EVERY = 1_000_000
_ASKED = 200
"""Sessions that are asked for by their ids at once."""
_PAGES = 20
"""Of all sessions, that one clean-up looks at: about 0.06 s of work. The next one goes on behind them. They are walked
in the order of their making: an index on when a session was used last would have every append write to it."""


class Keeper:
    """What every node does for itself (beats, looking at what others wrote) and what one node does for all: it holds
    the duty `timers`, or `cleanup`. A timer is also fired by the node on which it was set, so that nobody must be told
    of a near one."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
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
        kernel = self._kernel
        return [
            asyncio.create_task(self._beats()),
            asyncio.create_task(self._every("cannot fire timers", self._fire)),
            asyncio.create_task(self._every("cannot look at what others wrote", self._look)),
            asyncio.create_task(
                self._every("cannot look for isolation levels", self._levels, lambda: kernel.config.lease)
            ),
            asyncio.create_task(self._every("cannot clean up", self._clean, lambda: cleanup_pause(kernel.config))),
            asyncio.create_task(
                self._every("cannot finish what was cut off", self._recover, lambda: kernel.config.recover_every)
            ),
            asyncio.create_task(self._tidy()),
        ]

    def look_again(self, session: str | None) -> None:
        """Another node or process wrote something of a session, or of any: inboxes may have grown, timers be new, the
        session be gone."""
        if session is None:
            self._anything = True
            self._timers.set()
        else:
            self._looks.add(session)
        self._elsewhere.set()

    def timer_set(self, record: Record) -> None:
        event = record.event
        if isinstance(event, TimerSet):
            if (
                event.due < self._kernel.config.clock() + 2 * _LONGEST_SLEEP
            ):  # later ones are known by then to whoever has the duty
                heapq.heappush(self._dues, event.due)
            self._timers.set()

    def beat_soon(self) -> None:
        """What the node says of itself has changed."""
        self._beat_now.set()

    def lease_lost(self) -> None:
        """Whatever it held goes to others."""
        self._duties.clear()

    async def hand_over(self) -> None:
        """Let go of the duties. Raises `StoreFailed`."""
        duties, self._duties = self._duties, {}
        for name, (held, _) in duties.items():
            if held:
                await self._kernel.journal.drop(name, self._kernel.node)

    async def _every(
        self, what: str, work: Callable[[], Awaitable[None]], seconds: Callable[[], float] = lambda: 0.0
    ) -> None:
        failed = False
        while True:
            pause = min(seconds(), _LONGEST_SLEEP)  # it may be told to come sooner
            await asyncio.sleep(_AFTER_FAILURE if failed else pause)
            try:
                await work()
                self._kernel.trouble.worked(what)
                failed = False
            except Exception as error:  # one session's damage or one full disk must not stop the clock of all others
                self._kernel.trouble.failed(what, error)
                failed = True

    async def _beats(self) -> None:
        lease, kernel = self._kernel.config.lease, self._kernel
        pause = lease / 3
        while True:
            await asyncio.sleep(_BEATS_APART)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(pause - _BEATS_APART, 0)):
                    await self._beat_now.wait()
            self._beat_now.clear()
            what = "cannot renew the lease"
            try:
                await kernel.renew()
                kernel.trouble.worked(what)
                pause = lease / 3
                what = "cannot take sessions up again"
                await kernel.retry_parked()
                kernel.trouble.worked(what)
            except Exception as error:  # a node that does not beat any more must not look alive
                kernel.trouble.failed(what, error)
                pause = min(lease / 10, _AFTER_FAILURE)

    async def _look(self) -> None:
        await self._elsewhere.wait()
        self._elsewhere.clear()
        anything, self._anything = self._anything, False
        looks, self._looks = self._looks, set()
        try:
            if anything:
                await self._kernel.look_at_all()
            await self._kernel.look_at(looks)
        except BaseException:
            self._anything = self._anything or anything
            self._looks |= looks
            self._elsewhere.set()
            raise

    async def _fire(self) -> None:
        self._timers.clear()
        on_duty, clock = await self._has("timers"), self._kernel.config.clock
        due: float | None = None
        if on_duty or (self._dues and self._dues[0] <= clock()):
            now = clock()
            following = await self._kernel.dispatcher.fire(now)
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
        """Whether this node does it for all. The others ask again in a while, and take over from one that is gone."""
        kernel = self._kernel
        if kernel.draining or not kernel.holds_lease:
            return False
        held, until = self._duties.get(duty, (False, 0.0))
        if time.monotonic() >= until:
            held = await kernel.journal.hold(duty, kernel.node) is not None
            self._duties[duty] = (held, time.monotonic() + _DUTY_SECONDS)
        return held

    async def _clean(self) -> None:
        config = self._kernel.config
        if time.monotonic() - self._cleaned_at < cleanup_pause(config) or not await self._has("cleanup"):
            return
        if (config.session_timeout, config.retention) != (None, None):
            await self._walk()
        self._cleaned_at = time.monotonic()

    async def _recover(self) -> None:
        """Deletions and settlements of which a crash has left a part, whatever the pause between clean-ups is."""
        if time.monotonic() - self._recovered_at < self._kernel.config.recover_every or not await self._has("cleanup"):
            return
        await self._kernel.journal.purge()
        await self.charge_dead()
        await self._kernel.cores.ledger.recover_left(self._over)
        await self._kernel.cores.ledger.prune()
        self._recovered_at = time.monotonic()

    async def charge_dead(self) -> None:
        """Charge the model calls of processes that are gone, whoever will take up their sessions. Raises
        `StoreFailed`."""
        await self._kernel.cores.ledger.recover_dead(self._living)

    async def _living(self) -> list[str]:
        return [node.card.id for node in await self._kernel.dispatcher.nodes() if node.alive]

    async def _over(self, sessions: Collection[str]) -> Collection[str]:
        """Those that are gone, or do nothing that a model call could be for. One that failed keeps its step, which is
        looked after when a person starts it again."""
        some = tuple(sessions)[:_ASKED]
        there = await self._kernel.journal.find(SessionQuery(ids=some, limit=len(some)))
        busy = {info.id for info in there if info.phase == "working" or info.state == "error"}
        return set(some) - busy

    async def _walk(self) -> None:
        """Stop sessions that nobody used for long and that wait for nothing, delete those that were stopped long ago.
        The newest come first, so what a session has made is gone before it is looked at itself."""
        self._timed = frozenset(await self._kernel.journal.with_timers("", limit=_EVERY))
        for _ in range(_PAGES):
            page = await self._kernel.journal.find(SessionQuery(before=self._cleaned, limit=_PAGE))
            for info in page:
                before, self._cleaned = self._cleaned, info.id  # whatever fails with it, the others get their turn
                if await self._deleted(info):
                    self._cleaned = before
            if len(page) < _PAGE:
                self._cleaned = None
                return

    async def _deleted(self, info: SessionInfo) -> bool:
        """Whether it is gone. Stops it, if it is time for that."""
        config, idle, journal = self._kernel.config, time.time() - info.updated_at, self._kernel.journal
        try:
            if info.state == "stopped" and config.retention is not None and idle > config.retention:
                if await journal.find(SessionQuery(parent=info.id, limit=1)):
                    return False
                with contextlib.suppress(Conflict):
                    await self._kernel.removal.delete(info.id, unused=info)
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
            return unused(await load_state(self._kernel.journal, info.id))
        except (UnknownEvent, StoreCorrupt):  # a newer node looks after it, or nobody
            return False

    async def _levels(self) -> None:
        await look_for_levels(self._kernel)

    async def _tidy(self) -> None:
        removal = self._kernel.removal
        await removal.empty_bin()
        while self._kernel.place.tidy:
            try:
                await removal.tidy()
            except (StoreFailed, OSError) as error:
                if not isinstance(error, StoreUnreachable):
                    log.error("cannot look for files that are left over: %s", error)
            await asyncio.sleep(_TIDY_SECONDS)


def _rests(info: SessionInfo) -> bool:
    return info.state in ("running", "paused", "created") and info.phase == "idle" and not info.pending


def cleanup_pause(config: KernelConfig) -> float:
    """Often enough for the shortest of the times that it watches."""
    return min(s for s in (config.cleanup_every, config.session_timeout, config.retention) if s is not None)
