"""Clocks of tests. `FakeClock` passes in no time, for work that does no real I/O; `MovedClock` is the real one, which a
test moves ahead."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")

_SETTLE = 25
"""Rounds of the event loop after a timer, in which woken work settles."""


class _Timer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeClock:
    """Implements `roost.routing.clock.Clock`. Time passes only in `run` and `advance`: they fire the timers one by one,
    each at its exact time, and let their work settle in between. Not for work that does real I/O."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._timers: list[tuple[float, int, _Timer]] = []
        self._count = 0

    def now(self) -> float:
        return self._now

    @property
    def due(self) -> float | None:
        """Time of the next timer; None where none is set."""
        return min((when for when, _, timer in self._timers if timer.callback is not None), default=None)

    def call_at(self, when: float, callback: Callable[[], object]) -> _Timer:
        timer = _Timer(callback)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        return timer

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` and return its result; time passes as it needs. Raises `AssertionError` when it waits without a
        timer."""
        task = asyncio.ensure_future(work)
        try:
            while True:
                await self._settle()
                if task.done():
                    return task.result()
                if not self._fire(None):
                    raise AssertionError("the work waits, and no timer is set that could wake it")
        finally:
            task.cancel()

    async def advance(self, seconds: float) -> None:
        end = self._now + seconds
        await self._settle()
        while self._fire(end):
            await self._settle()
        self._now = max(self._now, end)

    async def _settle(self) -> None:
        for _ in range(_SETTLE):
            await asyncio.sleep(0)

    def _fire(self, until: float | None) -> bool:
        """Fire the next timer and set the time to it. False when there is none up to `until`."""
        while self._timers and (until is None or self._timers[0][0] <= until):
            when, _, timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                self._now = max(self._now, when)
                timer.callback()
                return True
        return False


_wall, _monotonic = time.time, time.monotonic
_REACTION = 0.05
"""Real seconds in which what has come due begins its work."""


class MovedClock:
    """Real time, moved ahead by a test: what would come due in an hour is due now. Called, it is a wall clock for
    `KernelConfig.clock`. Within `everywhere` leases, lingers, heartbeats and timers of event loops follow it too."""

    _passed = 0.0
    """Seconds by which the monotonic clock of this process is ahead. It never goes back, as a monotonic clock must."""

    def __init__(self) -> None:
        self.made = _wall()
        self.ahead = 0.0

    def __call__(self) -> float:
        return _wall() + self.ahead

    def go_to(self, moment: float) -> None:
        """Move the wall clock alone, to a later or an earlier time."""
        self.ahead = moment - _wall()

    @contextlib.contextmanager
    def everywhere(self) -> Generator[None]:
        """Let `time.time` and `time.monotonic` of this process follow; other processes and databases keep theirs."""
        time.monotonic = lambda: _monotonic() + MovedClock._passed
        time.time = self
        try:
            yield
        finally:
            time.time = _wall

    def skip(self, seconds: float) -> None:
        """Move all that `everywhere` covers."""
        self.ahead += seconds
        MovedClock._passed += seconds

    async def sleep(self, seconds: float) -> None:
        """Skip the seconds, and let what has come due begin."""
        self.skip(seconds)
        await asyncio.sleep(_REACTION)

    async def hurry(self, work: Awaitable[T], speed: float = 10.0) -> T:
        """Await the work; meanwhile time passes faster by this factor."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait([task], timeout=_REACTION))[0]:
                self.skip((speed - 1) * _REACTION)
            return task.result()
        finally:
            task.cancel()
