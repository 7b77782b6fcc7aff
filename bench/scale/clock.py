"""A clock that jumps from event to event."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable


class Clock:
    """Equal seeds give equal runs: events of one instant happen in the order in which they were planned."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._planned = 0

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        self._planned += 1
        heapq.heappush(self._events, (self.now + max(0.0, seconds), self._planned, do))

    def every(self, seconds: float, do: Callable[[], bool], *, spread: float = 0.1) -> None:
        """First within `seconds`, then again and again with some jitter, until it says False."""

        def again() -> None:
            if do():
                self.after(seconds * self.random.uniform(1 - spread, 1 + spread), again)

        self.after(self.random.uniform(0, seconds), again)

    def run(self, until: float, done: Callable[[], bool] = lambda: False) -> None:
        """Until that time, or until `done`, asked after every thousand events."""
        count = 0
        while self._events and self._events[0][0] <= until:
            self.now, _, do = heapq.heappop(self._events)
            do()
            count += 1
            if count % 1000 == 0 and done():
                return
        self.now = until
