"""Report the costs of a month: amounts from the ledger, purposes from the logs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Container, Sequence
from functools import cache
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from roost.authority import Authority, account_of, current, may_own, user_of
from roost.errors import NotFound, StoreCorrupt, UnknownEvent
from roost.log.content import Usage
from roost.log.events import (
    Event,
    ModelLost,
    ModelNotice,
    ModelStarted,
    SessionForked,
    SessionImported,
    Spent,
    beginning_of,
    declaring,
)
from roost.log.ledger import LostCall
from roost.log.protocols import SessionQuery
from roost.log.session_info import SessionInfo
from roost.log.store import Store
from roost.models.profile import Price
from roost.money.budgets import DOLLARS, Month, Share, month_span
from roost.money.call_meter import savings
from roost.money.ledger import Ledger

By: TypeAlias = Literal["session", "agent", "model", "day"]
_PAGE = 1_000
_SESSIONS = 200
_BEFORE = 100
"""Events before the month that are read too: a call that ends in it may have begun before."""
_UNKNOWN = "unknown"
_AGAIN = frozenset(("retry", "fallback", "recovery", "repair", "restart"))
"""Model notices of a step that made more than one call."""

log = logging.getLogger("roost.costs")


class CostRow(msgspec.Struct, kw_only=True):
    """Model calls of the logs under one name: `calls`, tokens, and cost in nano-dollars. `cost` excludes the `unpriced`
    calls, whose cost is not known. `lost`: the part of `cost` for calls that a crash cut off. `saved`: what tokens read
    from prompt caches would have cost more."""

    name: str
    calls: int = 0
    unpriced: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0
    cost: int = 0
    lost: int = 0
    saved: int = 0

    def add(self, usage: Usage, price: Price | None) -> None:
        self.calls += 1
        self.input += usage.input
        self.cached += usage.cached
        self.output += usage.output
        self.cost += usage.cost or 0
        self.unpriced += usage.cost is None
        self.saved += (savings(price, usage) or 0) if price is not None and usage.cached else 0


class Costs(msgspec.Struct, kw_only=True):
    """The costs of a month. `month`, `shares` (of users, agents and models) and `lost` (calls of the month that a crash
    cut off) come from the ledger and cover all spending. `rows` come from the logs of sessions that still exist, the
    dearest first."""

    month: Month
    shares: list[Share]
    lost: list[LostCall] = []
    by: By | None = None
    rows: list[CostRow] = []


async def costs(
    store: Store,
    ledger: Ledger,
    price: Callable[[str], Price | None],
    *,
    by: By | None = None,
    month: str | None = None,
) -> Costs:
    """Return the costs of this month, or of `month` (`2026-11`). `by` reads the logs of all sessions active then, which
    is slow. `price` returns a model's price by name, and may block."""
    now = await ledger.month(month)
    lost = await ledger.lost(now.month)
    if (who := current()).confined:
        lost = [one for one in lost if one.session is not None and may_own(one.session, who.account)]
    found = Costs(month=now, shares=await ledger.shares(month), lost=lost, by=by)
    if by is None:
        return found
    rows: dict[str, CostRow] = {}
    prices: dict[str, Price | None] = {}
    span = month_span(found.month.month)
    seen: set[str] = set()
    async for info, calls in spent_calls(store, span):
        if calls is None:
            continue
        seen.add(info.id)
        for call in calls:
            if call.model not in prices:
                prices[call.model] = await asyncio.to_thread(price, call.model)
            name = {"session": info.id, "agent": info.agent, "model": call.model, "day": _day(call.at)}[by]
            row = rows.setdefault(name, CostRow(name=name))
            row.add(call.spent.usage or Usage(cost=0), prices[call.model])
            if call.lost and call.spent.usage is not None:
                row.lost += call.spent.usage.cost or 0
    _add_lost(rows, by, lost, seen)
    ordered = sorted(rows.values(), key=lambda row: row.name if by == "day" else (-row.cost, row.name))
    return msgspec.structs.replace(found, rows=ordered)


def own_costs(found: Costs, who: Authority, limit: int | None) -> Costs:
    """Return a month's sums as an account sees them: its own. limit: its budget, in nano-dollars."""
    mine = user_of(who.account or "")
    shares = [one for one in found.shares if one.kind == "user" and account_of(one.name) == who.account]
    whole = next((one for one in shares if one.name == mine), None)
    spent, reserved = (0, 0) if whole is None else (whole.spent, whole.reserved)
    month = Month(month=found.month.month, spent=spent, reserved=reserved, limit=limit, unit=DOLLARS)
    return msgspec.structs.replace(found, month=month, shares=shares)


def _add_lost(rows: dict[str, CostRow], by: By, lost: Sequence[LostCall], seen: Container[str]) -> None:
    """Add lost calls that no log has, and later corrections of those that a log has."""
    for call in lost:
        told = call.session if call.told else None
        if told is not None and told not in seen:
            continue
        missing = call.cost if told is None else call.cost - call.charged
        if missing:
            names = {"session": call.session, "agent": call.agent, "model": call.model, "day": _day(call.lost_at)}
            row = rows.setdefault(name := names[by] or _UNKNOWN, CostRow(name=name))
            row.cost += missing
            row.lost += missing
            row.calls += told is None


class SpentCall(NamedTuple):
    """The end of a model call at wall time `at`. model: its name, or the one that stands for it. once: it is one call
    alone. lost: a crash cut it off."""

    at: float
    spent: Spent
    model: str
    once: bool
    lost: bool


async def spent_calls(
    store: Store, span: tuple[float, float]
) -> AsyncIterator[tuple[SessionInfo, list[SpentCall] | None]]:
    """Yield each session active in a span of wall time, with its own model calls that ended then. Yields None for a log
    that cannot be read, and logs that."""
    async for info in _sessions(store, span):
        calls: list[SpentCall] = []
        try:
            async for call in _calls(store, info, span):
                if call is None:
                    calls.clear()  # earlier calls were paid by another session
                else:
                    calls.append(call)
        except (NotFound, StoreCorrupt, UnknownEvent) as error:
            log.warning("session %s is left out of the costs, its log cannot be read: %s", info.id, error)
            yield info, None
        else:
            yield info, calls


async def _sessions(store: Store, span: tuple[float, float]) -> AsyncIterator[SessionInfo]:
    """Yield the sessions that may have events in the span."""
    before: str | None = None
    while page := await store.sessions.find(SessionQuery(before=before, limit=_SESSIONS)):
        for info in page:
            if info.updated_at >= span[0] and info.created_at < span[1]:
                yield info
        before = page[-1].id


async def _calls(store: Store, info: SessionInfo, span: tuple[float, float]) -> AsyncIterator[SpentCall | None]:
    """Yield the ends of model calls in the span. Yields None where the session's own log begins."""
    asked: dict[str, str] = {}
    once = True
    async for event in _events(store, info, span):
        if isinstance(event, SessionForked | SessionImported):
            yield None
        elif isinstance(event, ModelNotice):
            once = once and event.kind not in _AGAIN
        elif event.asks is not None:
            asked[event.purpose] = event.asks
            once = once or isinstance(event, ModelStarted)
        elif (spent := event.spent) is not None and event.at >= span[0]:
            model = spent.name or spent.model or asked.get(event.purpose, _UNKNOWN)
            answer = event.purpose == ModelStarted.purpose
            yield SpentCall(event.at, spent, model, once or not answer, isinstance(event, ModelLost))


async def _events(store: Store, info: SessionInfo, span: tuple[float, float]) -> AsyncIterator[Event]:
    """Yield the events about spending, from `_BEFORE` events before the span to its end."""
    after = max(0, await _first(store, info, span[0]) - _BEFORE)
    while records := await store.logs.read(info.id, after=after, limit=_PAGE):
        for record in records:
            after = record.seq
            if not record.body.startswith(_kinds()):
                continue
            if record.event.at >= span[1]:
                return
            yield record.event


async def _first(store: Store, info: SessionInfo, start: float) -> int:
    """Return the number of events before `start`, by bisection: times grow, except when the clock steps."""
    low, high = 0, info.head if info.created_at < start else 0
    while low < high:
        middle = (low + high) // 2
        record = await store.logs.read(info.id, after=middle, limit=1)
        if record and record[0].event.at < start:
            low = middle + 1
        else:
            high = middle
    return low


@cache
def _kinds() -> tuple[bytes, ...]:
    told = (ModelNotice, SessionForked, SessionImported, *declaring("asks", "spent"))
    return tuple(map(beginning_of, told))


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))
