"""The kernel's clockwork: the node's heartbeat, timers, time-outs and clean-up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from roost.errors import Conflict, NotFound, RoostError
from roost.log.inputs import ControlInput
from roost.log.journal import SessionQuery

if TYPE_CHECKING:
    from roost.kernel.config import KernelConfig
    from roost.kernel.kernel import Kernel

log = logging.getLogger("roost.keeper")
_LONGEST_SLEEP = 5.0
"""Between looks at the timers: a clock that is stepped is noticed this soon."""
_AFTER_FAILURE = 5.0


class Keeper:
    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._timers = asyncio.Event()
        self._elsewhere = asyncio.Event()
        self._deleted: list[str] = []

    def start(self) -> list[asyncio.Task[None]]:
        config = self._kernel.config
        return [
            asyncio.create_task(self._every(config.lease / 3, self._beat)),
            asyncio.create_task(self._every(0, self._fire)),
            asyncio.create_task(self._every(0, self._refresh)),
            asyncio.create_task(self._every(_cleanup_pause(config), self._clean)),
            asyncio.create_task(asyncio.to_thread(self._empty_bin)),
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
            except Exception as error:  # one session's damage or one full disk must not stop the clock of all others
                expected = isinstance(error, RoostError)
                log.error("%s: %s", work.__name__.strip("_"), error, exc_info=None if expected else error)
                await asyncio.sleep(0 if seconds else _AFTER_FAILURE)

    async def _beat(self) -> None:
        await self._kernel.journal.beat(self._kernel.card(), ttl=self._kernel.config.lease)
        await self._kernel.retry_parked()

    async def _refresh(self) -> None:
        await self._elsewhere.wait()
        self._elsewhere.clear()
        try:
            await self._kernel.refresh()
        except BaseException:
            self._elsewhere.set()
            raise

    async def _fire(self) -> None:
        self._timers.clear()
        due = await self._kernel.journal.fire(time.time())
        pause = _LONGEST_SLEEP if due is None else min(max(due - time.time(), 0.0), _LONGEST_SLEEP)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._timers.wait()

    async def _clean(self) -> None:
        """Stop sessions that nobody used for long, delete those that were stopped long ago."""
        config, journal = self._kernel.config, self._kernel.journal
        if config.session_timeout is not None:
            before = time.time() - config.session_timeout
            for state in ("running", "paused", "created"):
                for info in await journal.find(SessionQuery(state=state, updated_before=before, limit=1000)):
                    if info.phase != "idle" or info.pending:
                        continue
                    with contextlib.suppress(NotFound):
                        await journal.accept(info.id, ControlInput("stop"), key=f"timeout:{info.head}")
        if config.retention is not None:
            before = time.time() - config.retention
            for info in await journal.find(SessionQuery(state="stopped", updated_before=before, limit=1000)):
                with contextlib.suppress(NotFound, Conflict):
                    await self.delete(info.id)

    def _empty_bin(self) -> None:
        for session in self._deleted:
            self._kernel.workshop.empty_bin(session)

    async def delete(self, session: str) -> None:
        """Remove a session, its log and its private files. A crash between the two leaves the files in the bin, where
        the next start finds them. Raises `NotFound`, and `Conflict` when another node holds the session."""
        kernel, workshop, journal = self._kernel, self._kernel.workshop, self._kernel.journal
        await kernel.evict(session)
        claims = await journal.claim(kernel.node, session=session)
        if not claims and (await journal.get(session)).owner is not None:
            raise Conflict(f"session {session!r} runs in another process: stop that first", code="session_busy")
        try:
            await kernel.evict(session)  # what took it up before our claim is fenced, and lets go of the files
            workshop.throw_away(session)
            await journal.delete(session, epoch=claims[0].epoch if claims else None)
        except BaseException as error:
            kernel.park(session)
            if isinstance(error, RoostError):  # then it is not deleted
                workshop.bring_back(session)
            raise
        await asyncio.to_thread(workshop.empty_bin, session)

    async def undo_deletions(self) -> None:
        """Before sessions run: what a crash threw away the files of and did not delete gets them back. A session whose
        deletion goes on in another node is left to it."""
        kernel, workshop = self._kernel, self._kernel.workshop
        for session in workshop.thrown_away():
            try:
                if await kernel.journal.claim(kernel.node, session=session):
                    kernel.park(session)
                    workshop.bring_back(session)
            except NotFound:
                self._deleted.append(session)
            except OSError as error:
                log.error("session %s: its files are in the bin and cannot be brought back: %s", session, error)


def _cleanup_pause(config: KernelConfig) -> float:
    """Often enough for the shortest of the times that it watches."""
    return min(config.cleanup_every, *(s for s in (config.session_timeout, config.retention) if s is not None), 60.0)
