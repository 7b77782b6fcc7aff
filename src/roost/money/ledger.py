"""The ledger: nothing is spent that was not reserved before, and nothing that may have been spent is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from typing import Any

from roost.errors import NotFound, RoostError
from roost.local.embed.base import Embedding
from roost.log.content import Usage
from roost.log.shared import Balance, CallNote, Charge, LostCall, OpenCall, SettledBy, Shared
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
"""Seconds between the tries to settle at a store that does not answer."""
STALE = 5.0
"""Seconds after which `refresh` reads the month's balance again."""
_STALE = 900.0
"""Seconds without progress from which a call is taken for one that its owner could not settle: a process notes the
progress of all its calls once a second, whether anything of their answers is heard or not."""
SETTLED_KEPT = 400 * 86_400.0
"""Seconds for which a lost call is listed after it was settled."""
_NEAR = 60.0
"""Seconds between the moment that chose a call's month and the one that is noted as its start, at most."""
_CLOSING = 5.0
_MARKS = (0.9, 1.0)
_CALL = "call:"

_log = logging.getLogger("roost.ledger")


class Ledger:
    """One for all calls of a process, over the store that all processes share.

    `owner` names this life of the process, as a node's id does. `now` is the wall time in seconds, which says the
    month; `clock` is for waiting. `rate` and `models` are as in `Terms`. `window`: seconds after which a process that
    cannot reach the store ends its calls, its lease. A method raises what the store raises
    (`StoreFailed`), but for `settle`, `count`, `warnings`, `refresh` and `constrained`, which never raise. Belongs to
    one event loop.
    Raises `ConfigError` for a limit that cannot be computed.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        owner: str,
        budget: BudgetEntry | None = None,
        rate: Callable[[str], float | None] = lambda _: None,
        models: Collection[str] = (),
        window: float = 10.0,
        now: Callable[[], float] = time.time,
        clock: Clock | None = None,
    ) -> None:
        self._shared = shared
        self._owner = owner
        self._entry = budget or BudgetEntry()
        self._terms = Terms(self._entry, rate, models)
        self._now = now
        self._clock = clock or LoopClock()
        self._life = secrets.token_hex(6)
        self._numbers = itertools.count(1)
        self._seen: tuple[str, float, Balance] | None = None
        self._told: set[str] = set()
        self._left: frozenset[str] = frozenset()
        self._window = window
        self._running: dict[str, Underway] = {}
        self._beating: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], tuple[str, ...]] = {}

    def change(self, budget: BudgetEntry, *, rate: Callable[[str], float | None], models: Collection[str]) -> None:
        """What calls may cost from now on; those under way keep their reservations. Raises `ConfigError`, and nothing
        has changed."""
        self._terms = Terms(budget, rate, models)
        self._entry = budget

    def meter(self, model: str, price: Price | None, job: Embedding) -> TokenMeter:
        """For one call that is no `Request`."""
        meta = job.meta
        who = Spender(
            session=meta.get("session"),
            agent=meta.get("agent"),
            user=meta.get("user"),
            model=model,
            budgets=job.budgets,
        )
        return TokenMeter(Meter(self, price, who))

    def limit(self, who: Spender) -> str | None:
        """A budget with a limit that a call of `who` is charged to; None where all only count."""
        budgets = self._terms.budgets(who, self._month())
        return next((budget.name for budget in budgets if budget.limit is not None), None)

    @property
    def allows_unknown(self) -> bool:
        """Whether a model of unknown price may be called under a limit."""
        return self._entry.allow_unknown

    async def reserve(self, amount: int, who: Spender, plan: Plan | None = None) -> Held | Refused:
        """Sets `amount` aside in all budgets or in none. When it is cancelled or raises, nothing stays reserved. `plan`
        bounds what the call has cost if this process dies; without it that is all of `amount`."""
        budgets = self._terms.budgets(who, self._month())
        plan = plan or Plan(amount, amount)
        names = tuple(budget.name for budget in budgets)
        held = Held(self._new_id(who.session), names, amount, Underway(plan))
        charges = [Charge(budget.name, amount, budget.limit) for budget in budgets]
        asking = asyncio.ensure_future(self._shared.reserve(held.id, charges, self._note(who, plan, names)))
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
        """For what was spent without a reservation, since its price was not known before; else as `settle`."""
        budgets = tuple(budget.name for budget in self._terms.budgets(who, self._month()))
        tried = asyncio.Event()
        self._later(self._count(Held(self._new_id(who.session), budgets, amount), tried), budgets)
        await tried.wait()

    async def settle(self, held: Held, amount: int) -> None:
        """Puts what was spent in the place of what was reserved. Returns after the first try; where the store does not
        answer there are more, beside what goes on, and in the end the reservation stands: too much, never too little.
        Cancelling it stops nothing. A reservation that was settled before stays as it was."""
        self._running.pop(held.id, None)
        tried = asyncio.Event()
        self._later(self._settle(held, amount, tried), held.budgets)
        await tried.wait()

    async def recover(self, session: str) -> Usage | None:
        """Charge the calls of `session` that can have no end any more, because it has a new owner, with the most that
        they may have cost. Returns what its log has not been told yet, None where there is nothing. Twice is once."""
        for call in await self._shared.open_calls(_ids(session)):
            await self._lose(call, told=False)
        untold = [call for call in await self._shared.lost(_ids(session)) if not call.told]
        await self._shared.tell([call.id for call in untold])
        return Usage(cost=sum(call.cost for call in untold)) if untold else None

    async def recover_dead(self, living: Callable[[], Awaitable[Collection[str]]]) -> int:
        """Charge the calls whose owner is not among the `living` nodes and whose process is gone, as `recover` does.
        The log of their session is told when it is taken up. Returns how many there were."""
        calls = await self._shared.open_calls(_CALL)
        if not calls:
            return 0
        # In this order: a node that begins to live meanwhile has reserved none of them.
        alive = {*await living(), self._owner}
        dead = [call for call in calls if call.gone and (owner := _owner(call, alive)) and owner not in alive]
        for call in dead:
            await self._lose(call, told=call.note is None or call.note.session is None)
        return len(dead)

    async def recover_left(
        self, over: Callable[[Collection[str]], Awaitable[Collection[str]]], *, stale: float = _STALE
    ) -> int:
        """Charge the calls that nobody will settle, as `recover` does: those whose owner has not noted their progress
        for `stale` seconds, because it could not settle them, and those without a note of the sessions that `over`
        picks, which are deleted or have nothing under way. Of the latter only those that were there the last time as
        well. Returns how many there were."""
        calls = [call for call in await self._shared.open_calls(_CALL) if call.id not in self._running]
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
            return await self._shared.lost(_CALL)
        begin, end = month_span(month)
        calls = await self._shared.lost(_CALL, started=(begin - _NEAR, end + _NEAR))
        return [call for call in calls if f"month:{month}" in call.lasting]

    async def prune(self) -> int:
        """Remove the lost calls that were settled and are older than 400 days. What they cost stays counted."""
        return await self._shared.prune_lost(self._now() - SETTLED_KEPT)

    async def under_way(self) -> list[CallNote]:
        """Return the notes of the calls that are not settled, of all nodes."""
        return [call.note for call in await self._shared.open_calls(_CALL) if call.note is not None]

    async def correct(self, id: str, cost: int, by: SettledBy = "hand", *, again: bool = True) -> LostCall:
        """Set what a lost call has cost, in nano-dollars; without `again` only if nobody has settled it. Raises
        `NotFound`."""
        if (call := await self._shared.correct(id, cost, by, again=again)) is None:
            raise NotFound(f"there is no lost call {id!r}; `roost costs lost` lists them", code="unknown_call")
        self._seen = None
        return call

    async def spent(self, model: str | None = None) -> int:
        """In this month, in nano-dollars: by all, or by a model that has a budget of its own."""
        name = f"month:{self._month()}" if model is None else f"model:{model}:{self._month()}"
        return (await self._shared.balance(name)).spent

    async def month(self, month: str | None = None) -> Month:
        """This month, or one that is named as in `2026-11`. The limits are today's."""
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
        """What users, agents and models with a budget of their own have of a month, the dearest of each kind first."""
        month = month or self._month()
        found: list[Share] = []
        for kind in SCOPES:
            for budget, now in (await self._shared.balances(f"{kind}:")).items():
                name, _, of = budget.removeprefix(f"{kind}:").rpartition(":")
                if of == month:
                    limit = self._terms.limit(kind, name)
                    found.append(Share(kind=kind, name=name, spent=now.spent, reserved=now.reserved, limit=limit))
        return sorted(found, key=lambda share: (SCOPES.index(share.kind), -share.spent, share.name))

    async def warnings(self) -> list[Notice]:
        """A notice for each mark (the warning, 90 %, 100 %) that the month's spending has passed and of which nobody
        was told yet. Once in the whole cluster for a month and its limit."""
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
        """Read this month's balance for `constrained`, where it counts and was not read within the last 5 seconds. A
        store that fails leaves what is known."""
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
        """Return why money is to be saved: this month's spending is past the warning. Uses the balance that `refresh`
        has read."""
        limit, warn, month, seen = self._terms.month, self._terms.warn, self._month(), self._seen
        if limit is None or warn is None or not self._entry.downgrade:
            return None
        if seen is None or seen[0] != month or seen[2].spent < warn:
            return None
        share, show = f"{seen[2].spent / limit:.0%} of " if limit else "", self._terms.unit.show
        return f"{show(seen[2].spent)} are spent in {month}, {share}the month's {show(limit)}"

    async def forget(self, *budgets: str) -> None:
        """Drops budgets that are over (`turn:...`, `session:...`), as soon as what this process settles on them is
        settled. One on which something else is reserved stays."""
        late = {task for task, on in self._tasks.items() if not task.done() and not set(budgets).isdisjoint(on)}
        if late:
            self._later(self._forget_after(late, budgets))
            return
        for budget in budgets:
            await self._shared.forget(budget)

    async def close(self) -> None:
        """Waits a few seconds for what is still to be settled. What is not stays reserved."""
        self._running.clear()
        self._closing.set()
        if self._beating is not None:  # a query is not cut: its connection would be lost
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
                now = await self._shared.balance(budget.name)
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
        """Note what the calls under way have cost so far, as long as there are any: one statement a second."""
        while self._running and not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT):
                    await self._closing.wait()
            costs = {id: underway.cost() for id, underway in self._running.items()}
            named = {id: underway.provider_id for id, underway in self._running.items() if underway.provider_id}
            try:
                if costs:
                    await self._shared.progress(costs, named)
            except RoostError as error:  # the bound of what they have cost grows meanwhile
                if error.code == "store_closed":
                    return
                _log.debug("what calls have cost so far cannot be noted: %s", error)

    async def _lose(self, call: OpenCall, *, told: bool) -> None:
        note = call.note or CallNote(
            owner="", started=self._now(), session=_session(call.id), lasting=_lasting(call.amounts)
        )
        await self._shared.lose(call.id, bound(call), note, told=told)

    async def _settle(self, held: Held, amount: int, tried: asyncio.Event) -> None:
        amounts = dict.fromkeys(held.budgets, amount)
        what = f"{held.id} stays reserved, it cannot be settled"
        try:
            await self._insist(lambda: self._shared.settle(held.id, amounts), what, tried)
        finally:
            tried.set()

    async def _count(self, held: Held, tried: asyncio.Event) -> None:
        charges = [Charge(budget, held.amount) for budget in held.budgets]
        what = f"{dollars(held.amount)} were spent and cannot be counted"
        try:
            if await self._insist(lambda: self._shared.reserve(held.id, charges), what, tried):
                await self._settle(held, held.amount, tried)
        finally:
            tried.set()

    async def _insist(self, work: Callable[[], Awaitable[object]], what: str, tried: asyncio.Event) -> bool:
        """Whether `work`, which may be done twice, was done in the end. `tried` is set when it failed first."""
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
        balance = await self._shared.balance(f"month:{month}")
        if month == self._month():
            self._seen = month, self._clock.now(), balance
        return balance

    async def _first(self, mark: str) -> bool:
        if mark in self._told:
            return False
        me = f"{self._life}{next(self._numbers)}"
        first = await self._shared.setting(mark, me) == me
        self._told.add(mark)
        return first

    async def _forget_after(self, late: set[asyncio.Task[None]], budgets: tuple[str, ...]) -> None:
        await asyncio.wait(late)
        try:
            for budget in budgets:
                await self._shared.forget(budget)
        except RoostError as error:
            _log.debug("%s stay: %s", budgets, error)

    def _later(self, work: Coroutine[Any, Any, None], budgets: tuple[str, ...] = ()) -> None:
        """`budgets`: those on which it is settled."""
        task = asyncio.create_task(work)
        self._tasks[task] = budgets
        task.add_done_callback(self._tasks.pop)


def _lasting(budgets: Iterable[str]) -> tuple[str, ...]:
    return tuple(budget for budget in budgets if budget.partition(":")[0] in LASTING)


def _owner(call: OpenCall, nodes: Collection[str]) -> str | None:
    """The node that makes a call. Without a note only the ids of calls of no session tell it."""
    if call.note is not None:
        return call.note.owner
    if not call.id.startswith(f"{_CALL}-"):
        return None
    return next((node for node in nodes if call.id.startswith(_ids(f"-{node}"))), call.id)


def _ids(owner: str) -> str:
    """How the ids of an owner's reservations begin. An owner's own id may hold the sign that ends it here; no id holds
    the one in its place."""
    return f"{_CALL}{owner.replace(':', '/')}:"


def _session(id: str) -> str:
    return id.removeprefix(_CALL).partition(":")[0].replace("/", ":")
