"""Wait until a call may pass, in the order of the requests."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping

from roost.errors import RoostError
from roost.log.coordination import Coordination
from roost.models.limit_headers import Unit, allowances
from roost.routing.clock import Alarm, Clock, LoopClock, sleep
from roost.routing.limits.config import Limits
from roost.routing.limits.gauges import Gauge, HeaderGauge, Taken
from roost.scope import Scope

_PIECES = 8
"""Least number of pieces in which a large amount is taken from a cluster's bucket, once it was refused as a whole."""

_CLOSED = 3600.0
"""Most seconds for which one answer may block all calls: then one call tries again."""
_SMALL: Mapping[Unit, float] = {"requests": 1.0, "tokens": 0.0}
_NOTHING: Mapping[Unit, float] = {"requests": 0.0, "tokens": 0.0}


class TooLong(RoostError):
    """The wait would exceed the patience. Nothing was taken. `after` is in seconds."""

    code, status = "rate_limited", 429

    def __init__(self, name: str, after: float) -> None:
        super().__init__(f"the limit of {name} lets this call go in {after:.0f} s, which is too long to wait")
        self.after = after


class Permit:
    """The permit of a call. `waited` is in seconds. The caller reports once how many tokens were used, or that nothing
    was."""

    def __init__(self, limiter: Limiter, taken: list[tuple[Unit, Gauge, Taken]], waited: float) -> None:
        self._limiter = limiter
        self._taken = taken
        self.waited = waited

    def hear(self, headers: Mapping[str, str]) -> None:
        """Pass the headers of the provider's answer."""
        self._limiter.hear(headers, self._taken)

    def done(self, tokens: float | None) -> None:
        """Record that the call has ended and used so many tokens; None when unknown. Idempotent."""
        self._finish({} if tokens is None else {"tokens": tokens})

    def unused(self) -> None:
        """Give everything back: the call was never sent."""
        self._finish(_NOTHING)

    def _finish(self, used: Mapping[Unit, float]) -> None:
        taken, self._taken = self._taken, []
        self._limiter.settle(taken, used)


class Limiter:
    """The limits of one account, or of one model at an account, in one process.

    Exact: no span of time holds more than its limits allow. Fair: the first request passes first, whatever the amounts,
    so small calls cannot overtake a large one for ever. A request cancelled while waiting has taken nothing.
    With `cluster`, `shared` is asked after the local limits, under `name`, which is the same on all nodes. The estimate
    stands there: nothing is given back, so all nodes together never exceed the limits. A large amount that finds no
    space beside other nodes' calls is gathered in pieces, and its call passes with the last one.
    """

    def __init__(
        self, name: str, limits: Limits, *, clock: Clock | None = None, shared: Coordination | None = None
    ) -> None:
        self.name = name
        self.limits = self._limits = limits
        self._clock = clock or LoopClock()
        self._shared = shared if limits.cluster else None
        self._gauges: list[tuple[Unit, Gauge]] | None = None
        self._by_headers: dict[Unit, HeaderGauge] = (
            {"requests": HeaderGauge(), "tokens": HeaderGauge()} if limits.adaptive else {}
        )
        self._closed_until = -math.inf
        self._turn = asyncio.Lock()
        self._alarm = Alarm(self._clock)

    async def acquire(self, tokens: float, *, patience: float | None = None) -> Permit:
        """Wait until a request of so many estimated tokens may pass, at most `patience` seconds and the limits' own.
        Raises `TooLong`, and what `shared` raises."""
        began = self._clock.now()
        amounts: dict[Unit, float] = {"requests": 1.0, "tokens": max(0.0, tokens)}
        patience = min((each for each in (patience, self._limits.patience) if each is not None), default=None)
        latest = math.inf if patience is None else began + patience
        scope = Scope()
        timer = None if patience is None else self._clock.call_at(latest, scope.cut)
        try:
            # asyncio's lock serves its waiters in order of arrival.
            async with self._turn:
                taken = await self._local(amounts, latest)
                try:
                    await self._cluster(amounts)
                except BaseException:
                    self.settle(taken, _NOTHING)
                    raise
        except asyncio.CancelledError:
            if scope.leave():
                now = self._clock.now()
                raise TooLong(self.name, max(1.0, self._due(amounts, now) - now)) from None
            raise
        finally:
            scope.leave()
            if timer is not None:
                timer.cancel()
        return Permit(self, taken, self._clock.now() - began)

    async def _local(self, amounts: dict[Unit, float], latest: float) -> list[tuple[Unit, Gauge, Taken]]:
        while (due := self._due(amounts, now := self._clock.now())) > now:
            if due > latest:
                raise TooLong(self.name, due - now)
            await self._alarm.until(due)
        return [(unit, gauge, gauge.take(amounts[unit], now)) for unit, gauge in self._all(now)]

    def _due(self, amounts: Mapping[Unit, float], now: float) -> float:
        dues = [gauge.due(amounts[unit], now) for unit, gauge in self._all(now)]
        return max(dues, default=now) if self._closed_until <= now else max(*dues, self._closed_until, now)

    def _all(self, now: float) -> list[tuple[Unit, Gauge]]:
        if self._gauges is None:
            self._gauges = [(limit.unit, limit.gauge(now)) for limit in self._limits.limits]
            self._gauges += self._by_headers.items()
        return self._gauges

    async def _cluster(self, amounts: dict[Unit, float]) -> None:
        if self._shared is None:
            return
        for place, limit in enumerate(self._limits.limits):
            left = piece = min(amounts[limit.unit], limit.most)
            bucket = f"limit:{self.name}:{place}:{limit.unit}"
            while left > 0:
                # A window of the cluster is a bucket of half its size: a full one lets that much pass at once, and as
                # much again within the window.
                share = 0.5 if limit.kind == "window" else 1.0
                burst = limit.most * share
                piece = min(piece, left, burst)
                wait = await self._shared.take(bucket, piece, rate=limit.rate * share, burst=burst)
                if wait == 0.0:
                    left -= piece
                    continue
                # Other nodes take small amounts meanwhile: the whole might never be free at once, a piece will.
                piece = min(piece, max(1.0, burst / _PIECES))
                await sleep(self._clock, wait)

    def settle(self, taken: list[tuple[Unit, Gauge, Taken]], used: Mapping[Unit, float]) -> None:
        now = self._clock.now()
        for unit, gauge, what in taken:
            gauge.change(what, used.get(unit, what.amount), now)
        self._alarm.ring()

    def hear(self, headers: Mapping[str, str], taken: list[tuple[Unit, Gauge, Taken]]) -> None:
        now, told = self._clock.now(), allowances(headers, time.time())
        for unit, gauge, what in taken:
            if isinstance(gauge, HeaderGauge) and (known := told.get(unit)):
                gauge.hear(what, left=known.left, limit=known.limit, now=now, reset=now + known.reset)
        self._alarm.ring()

    def close_for(self, seconds: float) -> None:
        """Block calls for the provider's Retry-After, at most an hour."""
        if self._limits.adaptive:
            self._closed_until = max(self._closed_until, self._clock.now() + min(seconds, _CLOSED))
            self._alarm.ring()

    def wait(self) -> float:
        """Return the seconds after which a small call might pass, as far as this process knows; waiting calls pass
        first."""
        now = self._clock.now()
        return self._due(_SMALL, now) - now
