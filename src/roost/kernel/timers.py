"""Fire the sessions' durable timers when they are due."""

from __future__ import annotations

import asyncio
import contextlib
import heapq

from roost.kernel.membership import Membership
from roost.kernel.signals import Signals
from roost.log.dispatch import Dispatcher
from roost.log.events import TimerSet
from roost.log.protocols import Record

LONGEST_SLEEP = 5.0
"""Longest sleep between checks of the timers, in seconds: a stepped clock is noticed this soon."""


class Timers:
    """Fire timers: one node for the cluster, by the duty `timers`. The node that set a timer fires it too, so a near
    timer needs no message to the duty's holder."""

    def __init__(self, dispatcher: Dispatcher, membership: Membership, signals: Signals) -> None:
        self._dispatcher, self._membership, self._signals = dispatcher, membership, signals
        self._dues: list[float] = []

    def set(self, record: Record) -> None:
        """Take a timer that was set here."""
        event = record.event
        if isinstance(event, TimerSet):
            # Later timers are read in time by the duty's holder.
            if event.due < self._membership.config.clock() + 2 * LONGEST_SLEEP:
                heapq.heappush(self._dues, event.due)
            self._signals.timers.set()

    async def fire(self) -> None:
        """Fire the timers that are due, and sleep until the next one. Raises `StoreFailed`."""
        self._signals.timers.clear()
        on_duty, clock = await self._membership.holds("timers"), self._membership.config.clock
        due: float | None = None
        if on_duty or (self._dues and self._dues[0] <= clock()):
            now = clock()
            following = await self._dispatcher.fire(now)
            while self._dues and self._dues[0] <= now:
                heapq.heappop(self._dues)
            due = following if on_duty else None
        if self._dues:
            due = self._dues[0] if due is None else min(due, self._dues[0])
        pause = LONGEST_SLEEP if due is None else min(max(due - clock(), 0.0), LONGEST_SLEEP)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._signals.timers.wait()
