"""One call's way through the ledger."""

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
    """`reserve` before a call, `settle` after it; what is reserved and never settled stays reserved. Nothing is written
    for what is free, and for what has no known price."""

    def __init__(
        self,
        ledger: Purse,
        price: Price | None,
        who: Spender,
        *,
        heard: Callable[[], int] = lambda: 0,
        speed: float = TOKENS_PER_SECOND,
    ) -> None:
        """`heard`: the output tokens of the call so far; `speed`: how many its model writes in a second at most."""
        self._ledger = ledger
        self._price = price
        self._who = who
        self._heard = heard
        self._speed = speed
        self._held: Held | None = None
        self._settled = False

    async def reserve(self, most: Usage, *, streamed: bool = True) -> Refused | None:
        """Set aside what `most` may cost. None: the call may be made. Refused with the code `budget`, `price_unknown`,
        or `overloaded` where the store does not answer; the caller may then ask again for less. A call without
        `streamed` counts in full if this process dies: its provider writes the answer to the end."""
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
        """Something of the answer was heard."""
        if self._held is not None and self._held.underway is not None:
            self._held.underway.touch()

    def name(self, provider_id: str) -> None:
        """Note the id that the provider gave the answer, by which it can be asked for the cost."""
        if self._held is not None and self._held.underway is not None:
            self._held.underway.provider_id = provider_id

    def _plan(self, cost: int, most: Usage, *, streamed: bool) -> Plan:
        if self._price is None or not (streamed and most.output):
            return Plan(cost, cost)
        base = dearest(self._price, Usage(input=most.input)) or 0
        token = _worst(self._price, most.input)[1] * (_rate(self._price) or 1.0)
        return Plan(cost, base, token, self._speed, self._heard)

    def priced(self, usage: Usage) -> Usage:
        """With its cost: the provider's word, else by the price."""
        if usage.cost is not None or self._price is None:
            return usage
        return msgspec.structs.replace(usage, cost=self._price.cost(usage))

    async def settle(self, usage: Usage | None) -> None:
        """What was used in the end; None: nothing at all, the call was not made. Never raises but when cancelled, which
        does not stop it. Only the first time counts."""
        if self._settled:
            return
        self._settled = True
        cost, held = 0 if usage is None else self.priced(usage).cost, self._held
        if held is not None:
            await self._ledger.settle(held, held.amount if cost is None else cost)
        elif cost:
            await self._ledger.count(cost, self._who)


class TokenMeter:
    """A meter that knows how many tokens go in, as `roost.local.embed.base.Meter` has it."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    async def reserve(self, tokens: int) -> None:
        """Sets aside what `tokens` may cost. Raises `EmbedFailed` with the code `budget`, `price_unknown`, or
        `overloaded` where the store does not answer."""
        if (refused := await self._meter.reserve(Usage(input=tokens))) is not None:
            raise EmbedFailed(refused.error)

    async def settle(self, usage: Usage) -> None:
        await self._meter.settle(usage)


def dearest(price: Price, most: Usage) -> int | None:
    """The most that so much input and output may cost, in nano-dollars: none of the input is cached, or all of it is
    written to a cache, whichever costs more."""
    rate = _rate(price)
    if rate is None:
        return None
    into, out = _worst(price, most.input)
    return math.ceil((most.input * into + most.output * out) * rate)


def affordable(price: Price, tokens: int, left: int) -> int:
    """The output tokens that `left` nano-dollars pay beside `tokens` of input; 0 where a smaller answer saves none."""
    rate = _rate(price)
    into, out = _worst(price, tokens)
    return max(0, math.floor((left / rate - tokens * into) / out)) if rate and out else 0


def savings(price: Price, usage: Usage) -> int | None:
    """What the tokens read from a prompt cache would have cost more, in nano-dollars. None where that is not known."""
    rate = _rate(price)
    if rate is None:
        return None
    at = price.at(usage.input)
    return round(usage.cached * (at.input - (at.input if at.cached is None else at.cached)) * rate)


def _rate(price: Price) -> float | None:
    return 1.0 if price.currency == "USD" else price.rate


def _worst(price: Price, tokens: int) -> tuple[float, float]:
    """(of an input token, of an output token), over all tiers that so much input may fall into."""
    tiers: list[Price | Tier] = [price, *(tier for tier in price.tiers if tier.above < tokens)]
    into = max(max(tier.input, tier.cached or 0.0, tier.written or 0.0) for tier in tiers)
    return into, max(tier.output for tier in tiers)
