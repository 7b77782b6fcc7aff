"""Meter one call in the ledger."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import msgspec

from roost.errors import RoostError
from roost.local.embed.base import EmbedFailed
from roost.log.content import ErrorData, Usage
from roost.models.profile import Price, Tier
from roost.money.budgets import Held, Refused, Spender, price_unknown
from roost.money.running_calls import TOKENS_PER_SECOND, Plan


class Purse(Protocol):
    """The part of the ledger that a meter uses: see `roost.money.ledger.Ledger`."""

    @property
    def allows_unknown(self) -> bool: ...
    def limit(self, who: Spender) -> str | None: ...
    async def reserve(self, amount: int, who: Spender, plan: Plan | None = None) -> Held | Refused: ...
    async def settle(self, held: Held, amount: int) -> None: ...
    async def count(self, amount: int, who: Spender) -> None: ...


class Meter:
    """Meter a call: `reserve` before it, `settle` after it. A reservation that is never settled stays. Nothing is
    written for a free call, or for one of unknown price."""

    def __init__(
        self,
        ledger: Purse,
        price: Price | None,
        who: Spender,
        *,
        heard: Callable[[], int] = lambda: 0,
        speed: float = TOKENS_PER_SECOND,
    ) -> None:
        """`heard`: returns the output tokens received so far. `speed`: the most that its model writes per second."""
        self._ledger = ledger
        self._price = price
        self._who = who
        self._heard = heard
        self._speed = speed
        self._held: Held | None = None
        self._settled = False

    async def reserve(self, most: Usage, *, streamed: bool = True) -> Refused | None:
        """Reserve the cost of `most`. Returns None when the call may be made, else a refusal with the code `budget`,
        `price_unknown`, or `overloaded` where the store does not answer; the caller may then ask again for less. A call
        without `streamed` counts in full if this process dies: its provider writes the answer to the end."""
        cost = None if self._price is None else dearest(self._price, most)
        if cost is None:
            limited = None if self._ledger.allows_unknown else self._ledger.limit(self._who)
            return None if limited is None else Refused(limited, price_unknown(self._who.model, limited))
        if cost == 0:
            return None
        try:
            held = await self._ledger.reserve(cost, self._who, self._plan(cost, most, streamed=streamed))
        except RoostError as error:
            message = f"{self._who.model} was not called, the store cannot be asked for its budget: {error}"
            return Refused(None, ErrorData("overloaded", message, retryable=True))
        if isinstance(held, Refused):
            return held
        self._held = held
        return None

    def touch(self) -> None:
        """Note that a part of the answer arrived."""
        if self._held is not None and self._held.underway is not None:
            self._held.underway.touch()

    def name(self, provider_id: str) -> None:
        """Note the provider's id of the answer, by which its cost can be requested."""
        if self._held is not None and self._held.underway is not None:
            self._held.underway.provider_id = provider_id

    def _plan(self, cost: int, most: Usage, *, streamed: bool) -> Plan:
        if self._price is None or not (streamed and most.output):
            return Plan(cost, cost)
        base = dearest(self._price, Usage(input=most.input)) or 0
        token = _worst(self._price, most.input)[1] * (_rate(self._price) or 1.0)
        return Plan(cost, base, token, self._speed, self._heard)

    def priced(self, usage: Usage) -> Usage:
        """Return the usage with its cost: the provider's value, else by the price."""
        if usage.cost is not None or self._price is None:
            return usage
        return msgspec.structs.replace(usage, cost=self._price.cost(usage))

    async def settle(self, usage: Usage | None) -> None:
        """Settle with the final usage; None: the call was not made. Raises nothing but cancellation, which does not
        stop it. Only the first call counts."""
        if self._settled:
            return
        self._settled = True
        cost, held = 0 if usage is None else self.priced(usage).cost, self._held
        if held is not None:
            await self._ledger.settle(held, held.amount if cost is None else cost)
        elif cost:
            await self._ledger.count(cost, self._who)


class TokenMeter:
    """A meter for a known number of input tokens, as `roost.local.embed.base.Meter`."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    async def reserve(self, tokens: int) -> None:
        """Reserve the cost of `tokens`. Raises `EmbedFailed` with the code `budget`, `price_unknown`, or `overloaded`
        where the store does not answer."""
        if (refused := await self._meter.reserve(Usage(input=tokens))) is not None:
            raise EmbedFailed(refused.error)

    async def settle(self, usage: Usage) -> None:
        await self._meter.settle(usage)


def dearest(price: Price, most: Usage) -> int | None:
    """Return the highest cost of this usage, in nano-dollars: none of the input is cached, or all of it is written to a
    cache, whichever costs more. None without a price in dollars."""
    rate = _rate(price)
    if rate is None:
        return None
    into, out = _worst(price, most.input)
    return math.ceil((most.input * into + most.output * out) * rate)


def affordable(price: Price, tokens: int, left: int) -> int:
    """Return the output tokens that `left` nano-dollars pay beside `tokens` of input; 0 where a smaller answer saves
    nothing."""
    rate = _rate(price)
    into, out = _worst(price, tokens)
    return max(0, math.floor((left / rate - tokens * into) / out)) if rate and out else 0


def savings(price: Price, usage: Usage) -> int | None:
    """Return what the tokens read from a prompt cache would have cost more, in nano-dollars; None where it is
    unknown."""
    rate = _rate(price)
    if rate is None:
        return None
    at = price.at(usage.input)
    return round(usage.cached * (at.input - (at.input if at.cached is None else at.cached)) * rate)


def _rate(price: Price) -> float | None:
    return 1.0 if price.currency == "USD" else price.rate


def _worst(price: Price, tokens: int) -> tuple[float, float]:
    """Return the highest price of (an input token, an output token), over all tiers that this input may fall into."""
    tiers: list[Price | Tier] = [price, *(tier for tier in price.tiers if tier.above < tokens)]
    into = max(max(tier.input, tier.cached or 0.0, tier.written or 0.0) for tier in tiers)
    return into, max(tier.output for tier in tiers)
