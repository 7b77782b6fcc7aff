"""Settle lost calls by their providers' usage reports."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from roost.errors import ConfigError, NotFound
from roost.features.budgets.cost_report import SpentCall, spent_calls
from roost.log.content import Usage
from roost.log.ledger import LostCall
from roost.log.store import Store
from roost.models.http import HttpClient
from roost.models.profile import Price
from roost.money.ledger import Ledger
from roost.providers.accounts import Models
from roost.providers.usage_reports import Billed, Reported, ReportFailed, Reports, ReportSource, same_model

LATE = 900.0
"""Seconds after which a provider's report is complete."""
_MINUTE = 60.0
_DAY = 86_400.0
_LONGEST = 3_600.0
"""Most seconds that a killed call lasted; its loss may be noticed much later."""
_MARGIN = 2 * _MINUTE
"""Seconds around a window in which its model must have no other call: report buckets are minutes, and a provider counts
a call where it began or where it ended."""
_VAGUE = 300.0
"""Assumed longest duration, in seconds, of a call whose log has only its end."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A lost call beside its provider's report, in nano-dollars. `charged`: the cost before. `cost`: the settled cost;
    None when it was not settled, and `why`. `reported`: the report's usage beyond the logs in the time of this call and
    of the lost calls next to it, where known."""

    call: str
    model: str | None
    charged: int
    cost: int | None = None
    reported: int | None = None
    why: str | None = None


class DayBill(msgspec.Struct, frozen=True, kw_only=True):
    """A day (UTC) of an account, in nano-dollars. `billed`: what the provider bills the organization; None in a
    `currency` without a known rate. `counted`: the total of logs and ledger."""

    account: str
    day: str
    billed: int | None
    counted: int
    currency: str = "USD"


class Reconciled(msgspec.Struct, frozen=True, kw_only=True):
    calls: list[Compared]
    days: list[DayBill] = []


class _Span(NamedTuple):
    """The time of a call. `usage` is None where its tokens are not known exactly."""

    begin: float
    end: float
    model: str | None
    usage: Usage | None
    cost: int = 0

    def near(self, begin: float, end: float) -> bool:
        return self.begin <= end + _MARGIN and self.end >= begin - _MARGIN


class Reconciler:
    """Compare unsettled lost calls with their providers' reports, and settle the certain ones.

    OpenRouter: a call with the provider's id is settled by that call's own cost. OpenAI and Anthropic report by the
    minute: a call is settled by the model's reported usage beyond the logs, if all of that usage is Roost's: the report
    covers one API key (`report_key_id` of the account), or the caller says that it is `ours`. A call is never settled
    below zero, above its reservation, or where the logs are incomplete.
    rate: the worth of a currency in dollars.
    now: wall time in seconds.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        models: Models,
        rate: Callable[[str], float | None],
        *,
        ours: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._models = models
        self._rate = rate
        self._ours = ours
        self._now = now
        self._spans: list[_Span] = []
        self._whole = True
        self._lost: list[LostCall] = []

    async def run(self, month: str | None = None) -> Reconciled:
        """Settle the lost calls of a month (`2026-11`), or all. Idempotent. Raises `ReportFailed` or `ConfigError` when
        no report could be read; then nothing has changed."""
        self._lost = await self._ledger.lost()
        accounts: dict[str, list[LostCall]] = {}
        for call in self._lost:
            if call.settled is None and (month is None or f"month:{month}" in call.lasting):
                accounts.setdefault(_account(call.model), []).append(call)
        done, failed = Reconciled(calls=[]), list[ReportFailed | ConfigError]()
        client = HttpClient()
        try:
            for account, calls in accounts.items():
                try:
                    found = await self._one(account, calls, client)
                except (ReportFailed, ConfigError) as error:
                    failed.append(error)
                    found = Reconciled(calls=[_left(call, error.message) for call in calls])
                done.calls.extend(found.calls)
                done.days.extend(found.days)
        finally:
            await client.close()
        if failed and len(failed) == len(accounts):
            raise failed[0]
        return done

    async def _one(self, account: str, calls: list[LostCall], client: HttpClient) -> Reconciled:
        source = await asyncio.to_thread(self._source, account)
        if source is None:
            what = f"{account!r} has no usage report that is known; settle it by hand, or name one with report ="
            return Reconciled(calls=[_left(call, what) for call in calls])
        reports = Reports(source, client)
        if source.kind == "openrouter":
            return Reconciled(calls=[await self._by_id(call, reports) for call in calls])
        await self._read(account, calls)
        found: list[Compared] = []
        for group in self._windows(calls):
            found += await self._by_window(group, source, reports)
        return Reconciled(calls=found, days=await self._days(source, calls, reports))

    def _source(self, account: str) -> ReportSource | None:
        return None if not account or "://" in account else self._models.report_source(account)

    async def _by_id(self, call: LostCall, reports: Reports) -> Compared:
        if call.provider_id is None:
            return _left(call, "the call was cut off before its id was noted: settle it by hand")
        cost = await reports.call_cost(call.provider_id)
        if cost is None:
            return _left(call, f"the provider does not know {call.provider_id} (yet)")
        return await self._settle(call, cost, cost)

    async def _settle(self, call: LostCall, cost: int, reported: int) -> Compared:
        try:
            await self._ledger.correct(call.id, cost, "report", again=False)
        except NotFound:
            return _left(call, "it was settled meanwhile", reported)
        return Compared(call=call.id, model=call.model, charged=call.cost, cost=cost, reported=reported)

    async def _read(self, account: str, calls: list[LostCall]) -> None:
        """Collect the account's calls from logs and ledger, from a day before the lost ones to a day after."""
        begin = min(call.started for call in calls) - _DAY
        end = max(_ended(call) for call in calls) + _DAY
        self._spans, self._whole = [], True
        async for _, ended in spent_calls(self._store, (begin, end)):
            self._whole = self._whole and ended is not None
            for call in ended or ():
                if (span := _span(call)) and (span.model is None or _account(span.model) == account):
                    self._spans.append(span)
        asked = {call.id for call in calls}
        for call in self._lost:
            if call.id not in asked and _account(call.model) == account:
                self._spans.append(_Span(call.started, _ended(call), call.model, None, call.cost))
        for note in await self._ledger.under_way():
            if _account(note.model) == account:
                self._spans.append(_Span(note.started, self._now(), note.model, None))

    def _windows(self, calls: list[LostCall]) -> list[_Window]:
        """Group lost calls whose windows touch."""
        windows: list[_Window] = []
        for call in sorted(calls, key=lambda call: call.started):
            window = self._grown(call)
            last = next((w for w in windows if _same(w.calls[0].model, call.model) and w.end >= window.begin), None)
            if last is None:
                windows.append(window)
            else:
                last.calls.append(call)
                last.end = max(last.end, window.end)
        return windows

    def _grown(self, call: LostCall) -> _Window:
        """Return the window from a pause before the call to one after it, pauses in which its model is not called."""
        spans = self._of(call.model)
        begin, end, size = call.started, _ended(call), -1
        while size != (size := sum(span.near(begin, end) for span in spans)):
            near = [span for span in spans if span.near(begin, end)]
            begin = min([begin, *(span.begin for span in near)])
            end = max([end, *(span.end for span in near)])
        return _Window(
            begin=math.floor(begin / _MINUTE) * _MINUTE - _MINUTE,
            end=math.ceil(end / _MINUTE) * _MINUTE + _MINUTE,
            calls=[call],
        )

    def _of(self, model: str | None) -> list[_Span]:
        return [span for span in self._spans if span.model is None or _same(span.model, model)]

    async def _by_window(self, window: _Window, source: ReportSource, reports: Reports) -> list[Compared]:
        if window.end > self._now() - LATE:
            return [_left(call, "reports come late: ask again in half an hour") for call in window.calls]
        model = window.calls[0].model or ""
        rows = [row for row in await reports.usage(window.begin, window.end) if same_model(row.model, _plain(model))]
        inside = [
            span
            for span in self._spans
            if (span.model is None or _same(span.model, model))
            and window.begin <= span.end
            and span.begin <= window.end
        ]
        price = await asyncio.to_thread(lambda: self._models.card(model).profile.price)
        reported, why = _difference(rows, inside, window.calls, price)
        if why is None and not self._whole:
            why = "a session's log cannot be read, so its calls cannot be told from this one"
        if why is None and not (self._ours or source.key_id):
            why = f"others may use the account: pass --ours, or set report_key_id under [accounts.{source.account}]"
        if why is not None or reported is None:
            return [_left(call, why or "", reported) for call in window.calls]
        shares = _shared(reported, window.calls)
        return [await self._settle(call, cost, reported) for call, cost in zip(window.calls, shares, strict=True)]

    async def _days(self, source: ReportSource, calls: list[LostCall], reports: Reports) -> list[DayBill]:
        days = sorted({math.floor(call.started / _DAY) for call in calls})
        bills = await reports.bills(days[0] * _DAY, (days[-1] + 1) * _DAY)
        now = {call.id: call.cost for call in await self._ledger.lost()}
        counted: dict[str, int] = {}
        spans = [(span.end, span.cost) for span in self._spans]
        for at, cost in [*spans, *((call.started, now.get(call.id, call.cost)) for call in calls)]:
            counted[_day(at)] = counted.get(_day(at), 0) + cost
        wanted = {_day(day * _DAY) for day in days}
        return [self._bill(source.account, bill, counted.get(bill.day, 0)) for bill in bills if bill.day in wanted]

    def _bill(self, account: str, bill: Billed, counted: int) -> DayBill:
        rate = 1.0 if bill.currency == "USD" else self._rate(bill.currency)
        billed = None if rate is None else round(bill.amount * rate)
        return DayBill(account=account, day=bill.day, billed=billed, counted=counted, currency=bill.currency)


class _Window(msgspec.Struct):
    begin: float
    end: float
    calls: list[LostCall]


def _difference(
    rows: Sequence[Reported], inside: Sequence[_Span], calls: Sequence[LostCall], price: Price | None
) -> tuple[int | None, str | None]:
    """Return (the report's cost beyond the logs, in nano-dollars; why it cannot settle the calls, or None)."""
    if not rows:
        return None, "the report has no call of this model at that time"
    known = [span.usage for span in inside if span.usage is not None]
    more, less = _sum([row.usage for row in rows]), _sum(known)
    cached, written = more.cached - less.cached, more.written - less.written
    rest = Usage(more.input - less.input, more.output - less.output, cached, written=written)
    if min(rest.input, rest.output, rest.cached, rest.written) < 0 or rest.input < rest.cached + rest.written:
        return None, "the report has less than the logs: it is of another key, or not complete yet"
    cost = None if price is None else price.cost(rest)
    if price is None or cost is None:
        return None, "the price of the model is not known"
    if len(known) < len(inside):
        return (
            cost,
            "a call whose tokens are not known (failed, tried again, settled or under way) was made at that time",
        )
    requests = [row.requests for row in rows if row.requests is not None]
    if len(requests) == len(rows) and not 0 <= sum(requests) - len(known) <= len(calls):
        return (
            cost,
            f"the report has {sum(requests)} calls at that time, the logs {len(known)} and {len(calls)} lost ones",
        )
    if len(calls) > 1 and (price.tiers or len({call.lasting for call in calls}) > 1):
        return cost, f"{len(calls)} lost calls of different budgets or price tiers are in the same time"
    if cost > sum(call.reserved for call in calls):
        return cost, "the report has more than was reserved: another program uses the account"
    return cost, None


def _shared(cost: int, calls: Sequence[LostCall]) -> list[int]:
    """Split `cost` in proportion to what was charged; no part exceeds its call's reservation."""
    whole, left, parts = sum(call.charged for call in calls), cost, list[int]()
    for place, call in enumerate(calls):
        room = sum(later.reserved for later in calls[place + 1 :])
        part = round(cost * call.charged / whole) if whole else left
        parts.append(min(max(part, left - room), call.reserved, left))
        left -= parts[-1]
    return parts


def _span(call: SpentCall) -> _Span | None:
    spent, usage = call.spent, call.spent.usage
    if usage is None or not (usage.input or usage.output or usage.cost) or call.lost:
        return None
    begin = call.at - (_VAGUE if spent.seconds is None else spent.seconds)
    model = call.model if spent.name is None else None  # the log does not say which model it was
    return _Span(begin, call.at, model, usage if spent.exact and call.once else None, usage.cost or 0)


def _sum(usages: Sequence[Usage]) -> Usage:
    return sum(usages, Usage())


def _ended(call: LostCall) -> float:
    return max(call.started, min(call.lost_at, call.started + _LONGEST))


def _left(call: LostCall, why: str, reported: int | None = None) -> Compared:
    return Compared(call=call.id, model=call.model, charged=call.cost, reported=reported, why=why)


def _account(model: str | None) -> str:
    return (model or "").partition("/")[0] if "://" not in (model or "") else model or ""


def _plain(model: str) -> str:
    return model.partition("/")[2]


def _same(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and same_model(one, other)


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))
