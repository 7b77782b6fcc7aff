"""The ledger: every cost is reserved before it is spent, and no cost that may have been spent is lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from typing import Any

from roost.authority import account_of, owned_labels, user_of
from roost.errors import NotFound, RoostError
from roost.local.embed.base import Embedding
from roost.log.content import Usage
from roost.log.ledger import Balance, CallNote, Charge, LostCall, OpenCall, SettledBy
from roost.log.store import Store
from roost.models.profile import Price
from roost.models.request import Budget, Notice
from roost.money.budgets import (
    LASTING,
    SCOPES,
    BudgetEntry,
    Held,
    Month,
    Refused,
    Share,
    Spender,
    Terms,
    dollars,
    month_of,
    month_span,
    no_room,
)
from roost.money.call_meter import Meter, TokenMeter
from roost.money.running_calls import BEAT, Plan, Underway, bound
from roost.routing.clock import Clock, LoopClock, sleep

PAUSES = (0.2, 1.0, 5.0, 15.0, 30.0)
"""Seconds between attempts to settle at a store that does not answer."""
STALE = 5.0
"""Seconds after which `refresh` reads the month's balance again."""
_STALE = 900.0
"""Seconds without progress after which a call counts as one that its owner could not settle: a process notes the
progress of all its calls once a second, whether their answers arrive or not."""
SETTLED_KEPT = 400 * 86_400.0
"""Seconds for which a lost call is listed after it was settled."""
_NEAR = 60.0
"""Most seconds between the moment that chose a call's month and its noted start."""
_CLOSING = 5.0
_MARKS = (0.9, 1.0)
_CALL = "call:"

_log = logging.getLogger("roost.ledger")


class Ledger:
    """The ledger of all calls of a process, over the store that all processes share. Belongs to one event loop.

    owner: names this run of the process, as a node's id does.
    now: the wall time in seconds, which determines the month; `clock` is for waiting.
    rate, models: as in `Terms`. Raises `ConfigError` for a limit that cannot be computed.
    window: seconds after which a process that cannot reach the store ends its calls: its lease.

    Methods raise what the store raises (`StoreFailed`), except `settle`, `count`, `warnings`, `refresh` and
    `constrained`, which never raise.
    """

    def __init__(
        self,
        store: Store,
        *,
        owner: str,
        budget: BudgetEntry | None = None,
        rate: Callable[[str], float | None] = lambda _: None,
        models: Collection[str] = (),
        window: float = 10.0,
        now: Callable[[], float] = time.time,
        clock: Clock | None = None,
    ) -> None:
        self._rows, self._settings = store.ledger, store.coordination
        self._owner = owner
        self._entry = budget or BudgetEntry()
        self._terms = Terms(self._entry, rate, models)
        self.account_budget: Callable[[str], Awaitable[float | None]] | None = None
        self._accounts: dict[str, float | None] = {}
        self._now = now
        self._clock = clock or LoopClock()
        self._life = secrets.token_hex(6)
        self._numbers = itertools.count(1)
        self._seen: tuple[str, float, Balance] | None = None
        self._warned: set[str] = set()
        self._left: frozenset[str] = frozenset()
        self._window = window
        self._running: dict[str, Underway] = {}
        self._beating: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], tuple[str, ...]] = {}

    def change(self, budget: BudgetEntry, *, rate: Callable[[str], float | None], models: Collection[str]) -> None:
        """Change the limits for new calls; calls in flight keep their reservations. Raises `ConfigError`, and changes
        nothing."""
        self._terms = Terms(budget, rate, models)
        self._entry = budget

    def meter(self, model: str, price: Price | None, job: Embedding) -> TokenMeter:
        """Return a meter for one call that is no `Request`."""
        meta = job.meta
        who = Spender(
            session=meta.get("session"),
            agent=meta.get("agent"),
            user=owned_labels({"user": meta.get("user", "")})["user"] or None,
            model=model,
            budgets=job.budgets,
        )
        return TokenMeter(Meter(self, price, who))

    def limit(self, who: Spender) -> str | None:
        """Return a budget with a limit that a call of `who` is charged to; None where all only count."""
        budgets = self._budgets(who)
        return next((budget.name for budget in budgets if budget.limit is not None), None)

    async def look_up(self, who: Spender) -> None:
        """Read the budget of the caller's account, before `limit` is asked. Raises `StoreFailed`."""
        if self.account_budget is not None and (account := account_of(who.user)) is not None:
            self._accounts[account] = await self.account_budget(account)

    async def account_limit(self, account: str) -> int | None:
        """Return what an account may spend in a month, in nano-dollars; None for no limit. Raises `StoreFailed`."""
        await self.look_up(Spender(user=user_of(account)))
        name = f"user:{user_of(account)}:{self._month()}"
        return next(one.limit for one in self._budgets(Spender(user=user_of(account))) if one.name == name)

    def _budgets(self, who: Spender) -> tuple[Budget, ...]:
        return self._terms.budgets(who, self._month(), self._accounts.get(account_of(who.user) or ""))

    @property
    def allows_unknown(self) -> bool:
        """True when a model of unknown price may be called under a limit."""
        return self._entry.allow_unknown

    async def reserve(self, amount: int, who: Spender, plan: Plan | None = None) -> Held | Refused:
        """Reserve `amount` in all budgets or in none. After cancellation or an error nothing stays reserved. `plan`
        bounds the cost of the call if this process dies; without it the bound is `amount`. Raises `ValueError` for an
        amount below 0, which would free what others reserved."""
        if amount < 0:
            raise ValueError(f"{amount} nano-dollars cannot be reserved")
        await self.look_up(who)
        budgets = self._budgets(who)
        plan = plan or Plan(amount, amount)
        names = tuple(budget.name for budget in budgets)
        held = Held(self._new_id(who.session), names, amount, Underway(plan))
        charges = [Charge(budget.name, amount, budget.limit) for budget in budgets]
        asking = asyncio.ensure_future(self._rows.reserve(held.id, charges, self._note(who, plan, names)))
        try:
            refused = await asyncio.shield(asking)
        except BaseException:  # cancelled, or lost on the way: whether it stands is not known
            self._later(self._undo(asking, held), held.budgets)
            raise
        if refused is not None:
            return await self._refusal(refused, amount, budgets)
        self._watch(held)
        return held

    async def count(self, amount: int, who: Spender) -> None:
        """Charge an amount that was not reserved, since its price was unknown; else as `settle`."""
        budgets = tuple(budget.name for budget in self._budgets(who))
        tried = asyncio.Event()
        self._later(self._count(Held(self._new_id(who.session), budgets, amount), tried), budgets)
        await tried.wait()

    async def settle(self, held: Held, amount: int) -> None:
        """Replace a reservation by the amount spent. Returns after the first attempt; if the store does not answer,
        further attempts run in the background, and at last the reservation stays: too much, never too little.
        Cancelling it stops nothing. A reservation that was settled before does not change."""
        self._running.pop(held.id, None)
        tried = asyncio.Event()
        self._later(self._settle(held, amount, tried), held.budgets)
        await tried.wait()

    async def recover(self, session: str) -> Usage | None:
        """Charge the open calls of `session`, which has a new owner and so cannot end them, at their highest cost.
        Returns the usage that its log does not have yet, None without any. Idempotent."""
        for call in await self._rows.open_calls(_ids(session)):
            await self._lose(call, told=False)
        untold = [call for call in await self._rows.lost(_ids(session)) if not call.told]
        await self._rows.tell([call.id for call in untold])
        return Usage(cost=sum(call.cost for call in untold)) if untold else None

    async def recover_dead(self, living: Callable[[], Awaitable[Collection[str]]]) -> int:
        """Charge the calls whose owner is not among the `living` nodes and whose process is gone, as `recover` does.
        Their session's log learns it at the next wake. Returns their number."""
        calls = await self._rows.open_calls(_CALL)
        if not calls:
            return 0
        # In this order: a node that starts meanwhile has reserved none of them.
        alive = {*await living(), self._owner}
        dead = [call for call in calls if call.gone and (owner := _owner(call, alive)) and owner not in alive]
        for call in dead:
            await self._lose(call, told=call.note is None or call.note.session is None)
        return len(dead)

    async def recover_left(
        self, over: Callable[[Collection[str]], Awaitable[Collection[str]]], *, stale: float = _STALE
    ) -> int:
        """Charge the calls that no process will settle, as `recover` does. These are calls whose owner has not noted
        their progress for `stale` seconds, because it could not settle them; and calls without a note whose sessions
        `over` picks, which are deleted or have no call in flight, if they were open at the last run, too. Returns their
        number."""
        calls = [call for call in await self._rows.open_calls(_CALL) if call.id not in self._running]
        left = [call for call in calls if call.note is not None and call.idle > stale]
        plain = {call.id: call for call in calls if call.note is None and not call.id.startswith(f"{_CALL}-")}
        old, self._left = {id: _session(id) for id in plain if id in self._left}, frozenset(plain)
        sessions = await over(set(old.values())) if old else ()
        left += [plain[id] for id, session in old.items() if session in sessions]
        for call in left:
            await self._lose(call, told=call.note is None or call.note.session is None)
        return len(left)

    async def lost(self, month: str | None = None) -> list[LostCall]:
        """Return the calls that a crash cut off, the oldest first: all, or those that count in a month (`2026-11`)."""
        if month is None:
            return await self._rows.lost(_CALL)
        begin, end = month_span(month)
        calls = await self._rows.lost(_CALL, started=(begin - _NEAR, end + _NEAR))
        return [call for call in calls if f"month:{month}" in call.lasting]

    async def prune(self) -> int:
        """Remove settled lost calls older than 400 days. Their costs stay counted."""
        return await self._rows.prune_lost(self._now() - SETTLED_KEPT)

    async def under_way(self) -> list[CallNote]:
        """Return the notes of all nodes' unsettled calls."""
        return [call.note for call in await self._rows.open_calls(_CALL) if call.note is not None]

    async def correct(self, id: str, cost: int, by: SettledBy = "hand", *, again: bool = True) -> LostCall:
        """Set a lost call's cost, in nano-dollars; without `again` only if it is not settled yet. Raises `NotFound`."""
        if (call := await self._rows.correct(id, cost, by, again=again)) is None:
            raise NotFound(f"there is no lost call {id!r}; `roost costs lost` lists them", code="unknown_call")
        self._seen = None
        return call

    async def spent(self, model: str | None = None) -> int:
        """Return this month's spending in nano-dollars: of all, or of a model with a budget of its own."""
        name = f"month:{self._month()}" if model is None else f"model:{model}:{self._month()}"
        return (await self._rows.balance(name)).spent

    async def month(self, month: str | None = None) -> Month:
        """Return this month, or the named one (`2026-11`). The limits are today's."""
        month = month or self._month()
        balance = await self._look(month)
        terms = self._terms
        lost = [call.cost for call in await self.lost(month) if call.settled is None]
        return Month(
            month=month,
            spent=balance.spent,
            reserved=balance.reserved,
            lost=sum(lost),
            lost_calls=len(lost),
            limit=terms.month,
            warn=terms.warn,
            unit=terms.unit,
        )

    async def shares(self, month: str | None = None) -> list[Share]:
        """Return the month's shares of users, agents and models with a budget of their own, the dearest of each kind
        first."""
        month = month or self._month()
        shares: list[Share] = []
        for kind in SCOPES:
            for budget, now in (await self._rows.balances(f"{kind}:")).items():
                name, _, of = budget.removeprefix(f"{kind}:").rpartition(":")
                if of == month:
                    limit = self._terms.limit(kind, name)
                    shares.append(Share(kind=kind, name=name, spent=now.spent, reserved=now.reserved, limit=limit))
        return sorted(shares, key=lambda share: (SCOPES.index(share.kind), -share.spent, share.name))

    async def warnings(self) -> list[Notice]:
        """Return a notice for each mark (the warning, 90 %, 100 %) that the month's spending has passed and that was
        not reported yet. Once in the whole cluster for a month and its limit."""
        limit, month = self._terms.month, self._month()
        if limit is None:
            return []
        try:
            spent = (await self._look(month)).spent
            marks = [mark for mark in sorted({self._entry.warn, *_MARKS}) if spent >= mark * limit]
            return [
                Notice(
                    "budget", {"budget": f"month:{month}", "percent": round(mark * 100), "spent": spent, "limit": limit}
                )
                for mark in marks
                if await self._first(f"budget.told:{month}:{limit}:{mark:g}")
            ]
        except RoostError as error:
            _log.warning("the month's balance cannot be read: %s", error)
            return []

    async def refresh(self) -> None:
        """Read this month's balance for `constrained`, if it matters and is older than 5 seconds. If the store fails,
        the former balance stays."""
        month = self._month()
        if self._terms.warn is None or not self._entry.downgrade:
            return
        if self._seen is not None and self._seen[0] == month and self._clock.now() - self._seen[1] <= STALE:
            return
        try:
            await self._look(month)
        except RoostError as error:
            _log.warning("the month's balance cannot be read: %s", error)

    def constrained(self) -> str | None:
        """Return why to save money: this month's spending is past the warning. Uses the balance that `refresh` has
        read."""
        limit, warn, month, seen = self._terms.month, self._terms.warn, self._month(), self._seen
        if limit is None or warn is None or not self._entry.downgrade:
            return None
        if seen is None or seen[0] != month or seen[2].spent < warn:
            return None
        share, show = f"{seen[2].spent / limit:.0%} of " if limit else "", self._terms.unit.show
        return f"{show(seen[2].spent)} are spent in {month}, {share}the month's {show(limit)}"

    async def forget(self, *budgets: str) -> None:
        """Delete budgets that have ended (`turn:...`, `session:...`), once this process has settled its calls on them.
        A budget with another reservation stays."""
        late = {task for task, on in self._tasks.items() if not task.done() and not set(budgets).isdisjoint(on)}
        if late:
            self._later(self._forget_after(late, budgets))
            return
        for budget in budgets:
            await self._rows.forget(budget)

    async def close(self) -> None:
        """Wait a few seconds for open settlements. Unsettled reservations stay."""
        self._running.clear()
        self._closing.set()
        if self._beating is not None:  # not cancelled: a cut query would lose its connection
            await asyncio.wait([self._beating], timeout=_CLOSING)
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=_CLOSING)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _month(self) -> str:
        return month_of(self._now())

    def _new_id(self, session: str | None) -> str:
        return f"{_ids(f'-{self._owner}' if session is None else session)}{self._life}{next(self._numbers)}"

    async def _refusal(self, refused: str, amount: int, budgets: tuple[Budget, ...]) -> Refused:
        left: dict[str, int] = {}
        waits = True
        for budget in budgets:
            if budget.limit is not None:
                now = await self._rows.balance(budget.name)
                left[budget.name] = budget.limit - now.spent - now.reserved
                waits = waits and now.spent + amount <= budget.limit
        name = min(left, key=lambda name: (left[name], name != refused))
        error = no_room(name, max(0, left[name]), amount, waits=waits, unit=self._terms.unit)
        return Refused(name, error, max(0, left[name]))

    def _note(self, who: Spender, plan: Plan, budgets: tuple[str, ...]) -> CallNote:
        return CallNote(
            owner=self._owner,
            started=self._now(),
            model=who.model,
            session=who.session,
            agent=who.agent,
            user=who.user,
            cost=plan.base,
            rate=plan.rate,
            window=self._window,
            lasting=_lasting(budgets),
        )

    def _watch(self, held: Held) -> None:
        if held.underway is not None:
            self._running[held.id] = held.underway
            if self._beating is None or self._beating.done():
                self._beating = asyncio.create_task(self._beats())

    async def _beats(self) -> None:
        """Note the cost of the calls in flight so far, while there are any: one statement a second."""
        while self._running and not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT):
                    await self._closing.wait()
            costs = {id: underway.cost() for id, underway in self._running.items()}
            named = {id: underway.provider_id for id, underway in self._running.items() if underway.provider_id}
            try:
                if costs:
                    await self._rows.progress(costs, named)
            except RoostError as error:  # meanwhile the bound of their cost grows
                if error.code == "store_closed":
                    return
                _log.debug("what calls have cost so far cannot be noted: %s", error)

    async def _lose(self, call: OpenCall, *, told: bool) -> None:
        note = call.note or CallNote(
            owner="", started=self._now(), session=_session(call.id), lasting=_lasting(call.amounts)
        )
        await self._rows.lose(call.id, bound(call), note, told=told)

    async def _settle(self, held: Held, amount: int, tried: asyncio.Event) -> None:
        amounts = dict.fromkeys(held.budgets, amount)
        what = f"{held.id} stays reserved, it cannot be settled"
        try:
            await self._insist(lambda: self._rows.settle(held.id, amounts), what, tried)
        finally:
            tried.set()

    async def _count(self, held: Held, tried: asyncio.Event) -> None:
        charges = [Charge(budget, held.amount) for budget in held.budgets]
        what = f"{dollars(held.amount)} were spent and cannot be counted"
        try:
            if await self._insist(lambda: self._rows.reserve(held.id, charges), what, tried):
                await self._settle(held, held.amount, tried)
        finally:
            tried.set()

    async def _insist(self, work: Callable[[], Awaitable[object]], what: str, tried: asyncio.Event) -> bool:
        """Retry `work`, which must be idempotent. Returns whether it succeeded. Sets `tried` after the first
        failure."""
        for pause in (*PAUSES, None):
            try:
                await work()
                return True
            except RoostError as error:
                tried.set()
                if pause is None or error.code == "store_closed":
                    _log.warning("%s: %s", what, error)
                    return False
            await sleep(self._clock, pause)
        return False

    async def _undo(self, asking: Awaitable[str | None], held: Held) -> None:
        try:
            if await asking is not None:
                return
        except RoostError as error:
            _log.debug("%s may stand or not: %s", held.id, error)
        await self._settle(held, 0, asyncio.Event())

    async def _look(self, month: str) -> Balance:
        balance = await self._rows.balance(f"month:{month}")
        if month == self._month():
            self._seen = month, self._clock.now(), balance
        return balance

    async def _first(self, mark: str) -> bool:
        if mark in self._warned:
            return False
        me = f"{self._life}{next(self._numbers)}"
        first = await self._settings.setting(mark, me) == me
        self._warned.add(mark)
        return first

    async def _forget_after(self, late: set[asyncio.Task[None]], budgets: tuple[str, ...]) -> None:
        await asyncio.wait(late)
        try:
            for budget in budgets:
                await self._rows.forget(budget)
        except RoostError as error:
            _log.debug("%s stay: %s", budgets, error)

    def _later(self, work: Coroutine[Any, Any, None], budgets: tuple[str, ...] = ()) -> None:
        """Run `work` in the background. `budgets`: those that it settles."""
        task = asyncio.create_task(work)
        self._tasks[task] = budgets
        task.add_done_callback(self._tasks.pop)


def _lasting(budgets: Iterable[str]) -> tuple[str, ...]:
    return tuple(budget for budget in budgets if budget.partition(":")[0] in LASTING)


def _owner(call: OpenCall, nodes: Collection[str]) -> str | None:
    """Return the node that makes a call. Without a note it is known only from the ids of calls without a session."""
    if call.note is not None:
        return call.note.owner
    if not call.id.startswith(f"{_CALL}-"):
        return None
    return next((node for node in nodes if call.id.startswith(_ids(f"-{node}"))), call.id)


def _ids(owner: str) -> str:
    """Return the prefix of an owner's reservation ids. An owner's own id may contain the terminator; no id contains its
    replacement."""
    return f"{_CALL}{owner.replace(':', '/')}:"


def _session(id: str) -> str:
    return id.removeprefix(_CALL).partition(":")[0].replace("/", ":")
