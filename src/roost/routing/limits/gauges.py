"""Compute how much may pass now: pure arithmetic on a clock's seconds, without waiting, which `limiter` does."""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

_ROUNDING = 1e-9
"""Share of the capacity: the error of sums of floats."""


class Gauge(Protocol):
    """A measure of what may pass. Amounts are requests or tokens. Times are of one clock, and only grow from call to
    call.

    due: returns the first time at which `amount` fits, `now` if it does already. It accepts any amount; one above
        `capacity` counts as all of it.
    take: call it only when due. Returns a handle, with which `change` replaces the taken amount by the used one: the
        surplus is given back, a deficit is owed.
    """

    @property
    def capacity(self) -> float: ...

    def due(self, amount: float, now: float) -> float: ...

    def take(self, amount: float, now: float) -> Taken: ...

    def change(self, taken: Taken, used: float, now: float) -> None: ...


class Taken:
    """An amount taken at a time."""

    __slots__ = ("amount", "at")

    def __init__(self, at: float, amount: float) -> None:
        self.at = at
        self.amount = amount


class Bucket:
    """A token bucket: refills by `rate` a second up to `burst`, and starts full. In any span of T seconds at most
    `burst + rate * T` pass."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.capacity = burst
        self._rate = rate
        self._level = burst
        self._at = now

    def _fill(self, now: float) -> None:
        self._level = min(self.capacity, self._level + (now - self._at) * self._rate)
        self._at = now

    def due(self, amount: float, now: float) -> float:
        self._fill(now)
        short = min(amount, self.capacity) - self._level
        if short <= self.capacity * _ROUNDING:
            return now
        when = now + short / self._rate
        # A time too near for the clock to tell from now would never come.
        return max(when, math.nextafter(now, math.inf))

    def take(self, amount: float, now: float) -> Taken:
        self._fill(now)
        taken = Taken(now, min(amount, self.capacity))
        self._level -= taken.amount
        return taken

    def change(self, taken: Taken, used: float, now: float) -> None:
        self._fill(now)
        self._level = min(self.capacity, self._level + taken.amount - used)
        taken.amount = used


class Window:
    """A sliding window: at most `capacity` passes in any span `(t - seconds, t]`. Exact: each taken amount is kept
    until it is `seconds` old."""

    def __init__(self, capacity: float, seconds: float) -> None:
        self.capacity = capacity
        self._seconds = seconds
        self._kept: deque[Taken] = deque()
        self._total = 0.0

    def _forget(self, now: float) -> None:
        while self._kept and self._kept[0].at + self._seconds <= now:
            self._total -= self._kept.popleft().amount
        if not self._kept:
            self._total = 0.0

    def due(self, amount: float, now: float) -> float:
        self._forget(now)
        over = self._total + min(amount, self.capacity) - self.capacity
        for taken in self._kept:
            if over <= self.capacity * _ROUNDING:
                break
            over -= taken.amount
            now = taken.at + self._seconds
        return now

    def take(self, amount: float, now: float) -> Taken:
        taken = Taken(now, min(amount, self.capacity))
        self._kept.append(taken)
        self._total += taken.amount
        return taken

    def change(self, taken: Taken, used: float, now: float) -> None:
        self._forget(now)
        if taken.at + self._seconds > now:
            self._total += used - taken.amount
            taken.amount = used


class HeaderGauge:
    """The amount left by the provider's headers. Before the first headers everything passes.

    Calls in flight count against it, since the provider has not seen them. OpenAI and Anthropic refill evenly and name
    the time of a full refill, so the amount grows towards the limit until then; without a known limit it stays. After
    that time everything passes until the next headers.
    """

    def __init__(self) -> None:
        self.capacity = math.inf
        self._left = math.inf
        self._heard = self._reset = -math.inf
        self._busy: dict[Taken, None] = {}

    def due(self, amount: float, now: float) -> float:
        if now >= self._reset:
            return now
        short = min(amount, self.capacity) + sum(taken.amount for taken in self._busy) - self._left
        if short <= 0:
            return now
        if math.isinf(self.capacity) or short > self.capacity - self._left:
            return self._reset
        when = self._heard + (self._reset - self._heard) * short / (self.capacity - self._left)
        return min(max(when, now), self._reset)

    def take(self, amount: float, now: float) -> Taken:
        taken = Taken(now, min(amount, self.capacity))
        self._busy[taken] = None
        return taken

    def change(self, taken: Taken, used: float, now: float) -> None:
        """Record the end of a call. If no answer of its own counted it, the provider has counted it since."""
        if taken in self._busy:
            del self._busy[taken]
            self._left -= used

    def hear(self, taken: Taken, *, left: float, limit: float | None, now: float, reset: float) -> None:
        """Record an answer's headers: `left` of `limit` are left, and all of it at the time `reset`."""
        self._busy.pop(taken, None)
        self._left, self._heard, self._reset = left, now, reset
        if limit is not None and limit >= max(left, 1.0):
            self.capacity = limit
