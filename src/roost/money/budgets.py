"""Budgets: what a call is charged to, and up to which limit."""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable, Collection
from typing import Literal, TypeAlias

import msgspec

from roost.authority import account_of, owned_labels, user_of
from roost.errors import ConfigError
from roost.log.content import ErrorData
from roost.models.request import Budget, Request
from roost.money.running_calls import Underway

Scope: TypeAlias = Literal["user", "agent", "model"]
SCOPES: tuple[Scope, ...] = ("user", "agent", "model")
NANO = 1_000_000_000
"""Nano-dollars in a dollar."""


class BudgetEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Spending limits in `currency`; None is no limit. `month`: all spending in a calendar month (UTC). `users`,
    `agents`: each of these names in a month (`*` for every other one). `warn`: the share of `month` from which people
    are warned, and from which the router prefers cheap models with `downgrade`. A model of unknown price is refused
    under any limit, unless `allow_unknown`."""

    month: float | None = None
    users: dict[str, float] = {}
    agents: dict[str, float] = {}
    currency: str = "USD"
    warn: float = 0.8
    downgrade: bool = True
    allow_unknown: bool = False


def month_of(seconds: float) -> str:
    """Return the calendar month (`2026-11`), in UTC, of a wall time."""
    return time.strftime("%Y-%m", time.gmtime(seconds))


def month_span(month: str) -> tuple[float, float]:
    """Return the begin and end of a month (`2026-11`, UTC), as wall times."""
    year, number = map(int, month.split("-"))
    following = (year + number // 12, number % 12 + 1)
    return calendar.timegm((year, number, 1, 0, 0, 0)), calendar.timegm((*following, 1, 0, 0, 0))


def dollars(nano: int) -> str:
    """Format an amount for people, with enough digits that a small amount is not shown as zero."""
    if abs(nano) >= NANO // 10 or nano == 0:
        return f"${nano / NANO:.2f}"
    two = float(f"{nano / NANO:.2g}")
    return "$" + f"{two:.9f}".rstrip("0")


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """The currency of a budget. `rate`: the worth of one unit in dollars. `of`: the date of that rate, or its file."""

    currency: str = "USD"
    rate: float = 1.0
    of: str | None = None

    def show(self, nano: int) -> str:
        """Format an amount of nano-dollars in this currency, for people."""
        if self.currency == "USD" or not self.rate:
            return dollars(nano)
        return f"{self.currency} {dollars(round(nano / self.rate)).removeprefix('$')}"


DOLLARS = Unit()


def called(budget: str) -> str:
    """Return a budget's name for people."""
    kind, _, rest = budget.partition(":")
    name, _, month = rest.rpartition(":")
    match kind:
        case "month":
            return f"the budget of {rest}"
        case "tree":
            return f"the budget of session {rest} and its children"
        case "turn" | "session":
            return f"the budget of this {kind}"
        case "user" | "agent" | "model":
            return f"the budget of {kind} {name} in {month}"
        case _:
            return f"the budget {budget!r}"


class Spender(msgspec.Struct, frozen=True, kw_only=True):
    """The caller of `model`. `budgets` are charged in addition to those of all calls."""

    session: str | None = None
    agent: str | None = None
    user: str | None = None
    model: str | None = None
    budgets: tuple[Budget, ...] = ()

    @classmethod
    def of(cls, request: Request, model: str) -> Spender:
        meta = request.meta
        return cls(
            session=meta.get("session"),
            agent=meta.get("agent"),
            user=owned_labels({"user": meta.get("user", "")})["user"] or None,
            model=model,
            budgets=request.budgets,
        )


class Month(msgspec.Struct, frozen=True, kw_only=True):
    """A calendar month (UTC), in nano-dollars. `lost`: the part of `spent` that is an upper bound for `lost_calls`
    calls that a crash cut off. `warn`: the amount from which people are warned. `unit`: the limit's currency."""

    month: str
    spent: int
    reserved: int
    lost: int = 0
    lost_calls: int = 0
    limit: int | None = None
    warn: int | None = None
    unit: Unit = DOLLARS


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """The share of one user, agent or model in a month."""

    kind: Scope
    name: str
    spent: int
    reserved: int
    limit: int | None = None


class Held(msgspec.Struct, frozen=True):
    """An open reservation: `amount` nano-dollars on each of `budgets`. `underway`: the progress of its call."""

    id: str
    budgets: tuple[str, ...]
    amount: int
    underway: Underway | None = None


class Refused(msgspec.Struct, frozen=True):
    """Why a call is refused. `budget`: the one that has too little left, None for another reason. `left`: the
    nano-dollars that a smaller call may cost."""

    budget: str | None
    error: ErrorData
    left: int = 0


def no_room(budget: str, left: int, amount: int, *, waits: bool, unit: Unit = DOLLARS) -> ErrorData:
    """Make the error for a call that exceeds a budget. `waits`: it would fit without the reservations of calls in
    flight. `unit`: the currency of the budgets in models.toml; those of agents are in dollars."""
    fixes = {"turn": "limits.money of the agent", "session": "limits.session_money of the agent"}
    fixes["tree"] = fixes["session"]
    own = fixes.get(budget.partition(":")[0])
    fix, show = (own, dollars) if own else ("[budget] in models.toml", unit.show)
    message = (
        f"{called(budget)} has {show(left)} left and this call may cost {show(amount)}: "
        f"raise {fix}, or choose a cheaper model"
    )
    return ErrorData("budget", message, waits)


def price_unknown(model: str | None, budget: str) -> ErrorData:
    message = (
        f"what {model} costs is not known, and {called(budget)} has a limit: put its price into models.toml, as in "
        f'[models."{model}"] price = {{ input = 0.2, output = 0.6 }}, or set allow_unknown under [budget]'
    )
    account = (model or "").partition("/")[0]
    if account and model and "://" not in model:
        message += f"; where [accounts.{account}] names a gateway to the provider, priced = true there takes its prices"
    return ErrorData("price_unknown", message)


LASTING = ("month", *SCOPES)
"""The kinds of budgets that a correction of a lost call changes. Budgets of turns and sessions stay as logged."""


class Terms:
    """The limits of a `BudgetEntry`, in whole nano-dollars. Raises `ConfigError` for a limit in a currency without a
    rate.

    rate: returns the worth of one unit of a currency in dollars; None where it is unknown.
    models: those with a budget of their own, which is only counted here: their breakers enforce it.
    """

    def __init__(self, entry: BudgetEntry, rate: Callable[[str], float | None], models: Collection[str] = ()) -> None:
        self.entry = entry
        self._models = frozenset(models)
        limited = entry.month is not None or entry.users or entry.agents
        unit = 1.0 if entry.currency == "USD" else rate(entry.currency)
        if unit is None and limited:
            raise ConfigError(
                f"the budget is in {entry.currency!r}, whose worth is not known: "
                f"put {entry.currency} = (dollars for one of it) under [rates] into models.toml"
            )
        self._unit = (unit or 0.0) * NANO
        self.unit = Unit(currency=entry.currency, rate=unit or 0.0)
        self.month = self._nano(entry.month)
        self.warn = None if self.month is None else round(self.month * entry.warn)

    def budgets(self, who: Spender, month: str, account: float | None = None) -> tuple[Budget, ...]:
        """Return all budgets that a call of `who` in `month` is charged to. account: what the account of the user may
        spend in a month, in dollars."""
        budgets = [Budget(f"month:{month}", self.month)]
        if (name := account_of(who.user)) is not None:
            mine = user_of(name)
            own, limits = self.limit("user", mine), [] if account is None else [round(account * NANO)]
            limits += [] if own is None else [own]
            budgets.append(Budget(f"user:{mine}:{month}", min(limits, default=None)))
            if who.user == mine:
                who = msgspec.structs.replace(who, user=None)
        if who.user is not None:
            budgets.append(Budget(f"user:{who.user}:{month}", self.limit("user", who.user)))
        if who.agent is not None:
            budgets.append(Budget(f"agent:{who.agent}:{month}", self.limit("agent", who.agent)))
        if who.model in self._models:
            budgets.append(Budget(f"model:{who.model}:{month}"))
        return tuple({budget.name: budget for budget in (*budgets, *who.budgets)}.values())

    def limit(self, kind: Scope, name: str) -> int | None:
        """Return a month's limit of one user, agent or model."""
        limits = {"user": self.entry.users, "agent": self.entry.agents}.get(kind, {})
        return self._nano(limits.get(name, limits.get("*")))

    def _nano(self, amount: float | None) -> int | None:
        return None if amount is None else round(amount * self._unit)
