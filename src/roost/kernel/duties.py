"""Periodic duties of a node: heartbeat, time-outs, clean-up and recovery after crashes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Collection

from roost.agent.inputs import is_idle
from roost.errors import Conflict, NotFound, StoreCorrupt, StoreFailed, StoreUnreachable, UnknownEvent
from roost.kernel.claims import Claims
from roost.kernel.commit_watch import CommitWatch
from roost.kernel.config import KernelConfig
from roost.kernel.deletion import Deletions
from roost.kernel.failure_log import FailureLog
from roost.kernel.isolation_watch import probe_levels
from roost.kernel.membership import Membership
from roost.kernel.sandboxes import Sandboxes
from roost.kernel.signals import Signals
from roost.kernel.state_loader import load_state
from roost.kernel.timers import LONGEST_SLEEP, Timers
from roost.log.inputs import ControlInput
from roost.log.protocols import SessionQuery
from roost.log.session_info import SessionInfo
from roost.log.store import Store
from roost.money.ledger import Ledger

log = logging.getLogger("roost.node")
_AFTER_FAILURE = 1.0
_BEATS_APART = 0.1
_TIDY_SECONDS = 600.0
_PAGE = 1000
_EVERY = 1_000_000
_ASKED = 200
"""Most sessions in one query by ids."""
_PAGES = 20
"""Pages of sessions that one clean-up visits: about 0.06 s of work. The next clean-up continues behind them. The walk
is in order of creation: an index by last use would be written by every append."""


class Duties:
    """Run what each node does for itself (heartbeats, reading after others' commits) and the clean-up of the cluster,
    which one node holds as the duty `cleanup`."""

    def __init__(
        self,
        store: Store,
        membership: Membership,
        sandboxes: Sandboxes,
        ledger: Ledger,
        claims: Claims,
        watch: CommitWatch,
        timers: Timers,
        deletions: Deletions,
        failures: FailureLog,
        signals: Signals,
    ) -> None:
        self._store, self._membership = store, membership
        self._sandboxes, self._ledger, self._claims = sandboxes, ledger, claims
        self._watch, self._timers, self._deletions = watch, timers, deletions
        self._failures, self._signals = failures, signals
        self._cleaned: str | None = None
        self._cleaned_at = self._recovered_at = time.monotonic()
        self._timed: frozenset[str] = frozenset()

    def start(self) -> list[asyncio.Task[None]]:
        every, here = self._every, self._membership
        loops = (
            self._beats(),
            every("cannot fire timers", self._timers.fire),
            every("cannot look at what others wrote", self._watch.look),
            every("cannot look for isolation levels", self._levels, lambda: here.config.lease),
            every("cannot clean up", self._clean, lambda: cleanup_pause(here.config)),
            every("cannot finish what was cut off", self._recover, lambda: here.config.recover_every),
            self._tidy(),
        )
        return [asyncio.create_task(loop) for loop in loops]

    async def _every(
        self, what: str, work: Callable[[], Awaitable[None]], seconds: Callable[[], float] = lambda: 0.0
    ) -> None:
        failed = False
        while True:
            pause = min(seconds(), LONGEST_SLEEP)  # a new configuration may shorten the pause
            await asyncio.sleep(_AFTER_FAILURE if failed else pause)
            try:
                await work()
                self._failures.worked(what)
                failed = False
            except Exception as error:  # one damaged session or a full disk must not stop the clock of all others
                self._failures.failed(what, error)
                failed = True

    async def _beats(self) -> None:
        lease, beat = self._membership.config.lease, self._signals.beat
        pause = lease / 3
        while True:
            await asyncio.sleep(_BEATS_APART)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(pause - _BEATS_APART, 0)):
                    await beat.wait()
            beat.clear()
            what = "cannot renew the lease"
            try:
                await self._membership.renew()
                self._failures.worked(what)
                pause = lease / 3
                what = "cannot resume parked sessions"
                await self._claims.retry_parked()
                self._failures.worked(what)
            except Exception as error:  # a node without heartbeats must not look alive
                self._failures.failed(what, error)
                pause = min(lease / 10, _AFTER_FAILURE)

    async def _clean(self) -> None:
        config = self._membership.config
        if time.monotonic() - self._cleaned_at < cleanup_pause(config) or not await self._membership.holds("cleanup"):
            return
        if (config.session_timeout, config.retention) != (None, None):
            await self._walk()
        self._cleaned_at = time.monotonic()

    async def _recover(self) -> None:
        """Complete deletions and settlements that a crash interrupted, every `recover_every` seconds whatever the
        clean-up pause is."""
        if (
            time.monotonic() - self._recovered_at < self._membership.config.recover_every
            or not await self._membership.holds("cleanup")
        ):
            return
        await self._store.sessions.purge()
        await self.charge_dead()
        await self._ledger.recover_left(self._over)
        await self._ledger.prune()
        self._recovered_at = time.monotonic()

    async def charge_dead(self) -> None:
        """Charge the model calls of dead processes, before their sessions are resumed anywhere. Raises
        `StoreFailed`."""
        await self._ledger.recover_dead(self._living)

    async def _living(self) -> list[str]:
        return [one.card.id for one in await self._store.dispatch.nodes() if one.alive]

    async def _over(self, sessions: Collection[str]) -> Collection[str]:
        """Return the sessions that are deleted or have no model call in flight. A failed session counts as busy: its
        step is reconciled when a person starts it again."""
        some = tuple(sessions)[:_ASKED]
        there = await self._store.sessions.find(SessionQuery(ids=some, limit=len(some)))
        busy = {info.id for info in there if info.phase == "working" or info.state == "error"}
        return set(some) - busy

    async def _walk(self) -> None:
        """Stop sessions idle for `session_timeout`, and delete those stopped for `retention`. Newest first, so children
        are deleted before their parent is visited."""
        self._timed = frozenset(await self._store.sessions.with_timers("", limit=_EVERY))
        for _ in range(_PAGES):
            page = await self._store.sessions.find(SessionQuery(before=self._cleaned, limit=_PAGE))
            for info in page:
                before, self._cleaned = self._cleaned, info.id  # advance first, whatever fails below
                if await self._deleted(info):
                    self._cleaned = before
            if len(page) < _PAGE:
                self._cleaned = None
                return

    async def _deleted(self, info: SessionInfo) -> bool:
        """Stop or delete a session when its time has come. Returns True when it no longer exists."""
        config, idle, store = self._membership.config, time.time() - info.updated_at, self._store
        try:
            if info.state == "stopped" and config.retention is not None and idle > config.retention:
                if await store.sessions.find(SessionQuery(parent=info.id, limit=1)):
                    return False
                with contextlib.suppress(Conflict):
                    await self._deletions.delete(info.id, unused=info)
                    return True
            elif info.id in self._timed or not _rests(info):
                return False
            elif config.session_timeout is not None and idle > config.session_timeout and await self._unused(info):
                await store.inboxes.accept(info.id, ControlInput("stop", "unused"), key=f"timeout:{info.head}")
        except NotFound:
            return True
        return False

    async def _unused(self, info: SessionInfo) -> bool:
        try:
            return is_idle(await load_state(self._store, info.id))
        except (UnknownEvent, StoreCorrupt):  # a newer node handles it, or no node can
            return False

    async def _levels(self) -> None:
        if await probe_levels(self._store, self._sandboxes):
            await self._membership.renew()
            self._signals.work.set()

    async def _tidy(self) -> None:
        await self._deletions.empty_bin()
        while self._membership.place.tidy:
            try:
                await self._deletions.tidy()
            except (StoreFailed, OSError) as error:
                if not isinstance(error, StoreUnreachable):
                    log.error("cannot look for files that are left over: %s", error)
            await asyncio.sleep(_TIDY_SECONDS)


def _rests(info: SessionInfo) -> bool:
    return info.state in ("running", "paused", "created") and info.phase == "idle" and not info.pending


def cleanup_pause(config: KernelConfig) -> float:
    """Return the shortest of the configured times, in seconds, so that none is noticed late."""
    return min(s for s in (config.cleanup_every, config.session_timeout, config.retention) if s is not None)
