"""The kernel's clockwork: the node's heartbeat, timers, time-outs and clean-up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from roost.errors import Conflict, NotFound, StoreFailed
from roost.log.inputs import ControlInput
from roost.log.journal import SessionQuery

if TYPE_CHECKING:
    from roost.kernel.kernel import Kernel

log = logging.getLogger("roost.keeper")
_LONGEST_SLEEP = 5.0
"""Between looks at the timers: a clock that is stepped is noticed this soon."""


class Keeper:
    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._timers = asyncio.Event()
        self._elsewhere = asyncio.Event()

    def start(self) -> list[asyncio.Task[None]]:
        config = self._kernel.config
        return [
            asyncio.create_task(self._every(config.lease / 3, self._beat)),
            asyncio.create_task(self._fire()),
            asyncio.create_task(self._refresh()),
            asyncio.create_task(self._every(config.cleanup_every, self._clean)),
        ]

    def look_again(self) -> None:
        """Another process changed something: timers may be new, inboxes may have grown."""
        self._timers.set()
        self._elsewhere.set()

    def timer_set(self) -> None:
        self._timers.set()

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except StoreFailed as error:
                log.error("%s", error)

    async def _beat(self) -> None:
        await self._kernel.journal.beat(self._kernel.node, ttl=self._kernel.config.lease)
        await self._kernel.retry_parked()

    async def _refresh(self) -> None:
        while True:
            await self._elsewhere.wait()
            self._elsewhere.clear()
            with contextlib.suppress(StoreFailed):
                await self._kernel.refresh()

    async def _fire(self) -> None:
        while True:
            pause = _LONGEST_SLEEP
            try:
                due = await self._kernel.journal.fire(time.time())
                if due is not None:
                    pause = min(max(due - time.time(), 0.0), _LONGEST_SLEEP)
            except StoreFailed as error:
                log.error("cannot look at the timers: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._timers.wait()
            self._timers.clear()

    async def _clean(self) -> None:
        """Stop sessions that nobody used for long, delete those that were stopped long ago."""
        config, journal = self._kernel.config, self._kernel.journal
        if config.session_timeout is not None:
            before = time.time() - config.session_timeout
            for state in ("running", "paused", "created"):
                for info in await journal.find(SessionQuery(state=state, updated_before=before, limit=1000)):
                    if info.phase == "idle" and not info.pending:
                        await journal.accept(info.id, ControlInput("stop"), key=f"timeout:{info.head}")
        if config.retention is not None:
            before = time.time() - config.retention
            for info in await journal.find(SessionQuery(state="stopped", updated_before=before, limit=1000)):
                with contextlib.suppress(NotFound, Conflict):
                    await self.delete(info.id)

    async def delete(self, session: str) -> None:
        """Remove a session, its log and its private files. A crash between the two leaves the files in the bin, where
        the next start finds them. Raises `NotFound`, and `Conflict` when another node holds the session."""
        workshop, journal = self._kernel.workshop, self._kernel.journal
        await self._kernel.evict(session)
        await journal.get(session)
        workshop.throw_away(session)
        try:
            await journal.delete(session)
        except Conflict:
            workshop.bring_back(session)
            raise
        await asyncio.to_thread(workshop.empty_bin, session)

    async def tidy(self) -> None:
        """Finish the deletions that a crash cut in two."""
        for session in self._kernel.workshop.thrown_away():
            try:
                await self._kernel.journal.get(session)
                self._kernel.workshop.bring_back(session)
            except NotFound:
                await asyncio.to_thread(self._kernel.workshop.empty_bin, session)
