"""The clock of code that waits between model calls. `roost.testing.clock` has one that passes in no time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    def cancel(self) -> object: ...


class Clock(Protocol):
    """A clock in seconds from an arbitrary start, which only grow."""

    def now(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` in the event loop at `when`, perhaps a little earlier (the resolution of the loop's timers):
        check `now` again."""
        ...


class LoopClock:
    """The running event loop's own clock."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        return asyncio.get_running_loop().call_at(when, callback)


class Alarm:
    """Wait for a time on a clock; `ring` ends the wait early. For one waiter at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._bell: asyncio.Future[None] | None = None

    async def until(self, when: float) -> None:
        bell = self._bell = asyncio.get_running_loop().create_future()
        timer = self._clock.call_at(when, self.ring)
        try:
            await bell
        finally:
            timer.cancel()
            self._bell = None

    def ring(self) -> None:
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)


async def sleep(clock: Clock, seconds: float) -> None:
    await Alarm(clock).until(clock.now() + seconds)
