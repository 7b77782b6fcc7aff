"""What stands around a model: the whole of it is one core of a name."""

from __future__ import annotations

import random
from collections.abc import Callable

from roost.log.shared import Shared
from roost.models.media_fitting import Fitting
from roost.models.model_wrapper import Whole, Wrapped
from roost.models.request import Model
from roost.money.charging_model import Charging
from roost.money.ledger import Ledger
from roost.money.running_calls import TOKENS_PER_SECOND
from roost.providers.config import AccountEntry, ModelEntry, ModelsConfig
from roost.routing.breakers import Breaker, Breaking, Guarded
from roost.routing.clock import Clock
from roost.routing.limits import Limit, Limited, Limiter, Limiters, Limits
from roost.routing.recovery import Batching, Continuing, Degrading
from roost.routing.retry import Retry, Retrying
from roost.routing.tool_repair import Repairing

PATIENCE = 120.0
"""Seconds that a call waits for its limits at most, where no account says otherwise; as long as `Retry` waits."""
_FAST = {"groq": 2_000.0, "cerebras": 4_000.0}
"""The output tokens a second of accounts that are faster than `TOKENS_PER_SECOND`."""
_LATER = 2.0
"""Seconds of waiting for a limit, or because a provider asked for it, from which another model is asked first."""


class Parts:
    """What the cores of one process have in common: the limits of each account and model, one breaker for each model,
    the clock. `config` names them, and what it does not name has the defaults: a breaker, and a limiter that keeps to
    what the provider's answers say.

    `shared` counts the limits that hold for the cluster; without it they hold for this process. Without a `ledger`
    nothing is charged, and a breaker with a budget adds up what it sees; the ledger must count the models of `budgeted`
    apart. `chance` draws the jitter within 0 and 1.
    """

    def __init__(
        self,
        config: ModelsConfig | None = None,
        *,
        clock: Clock | None = None,
        shared: Shared | None = None,
        ledger: Ledger | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.config = config or ModelsConfig()
        self.clock = clock
        self.chance = chance
        self.ledger = ledger
        self._budgeted = budgeted(self.config)
        self._breakers: dict[str, Breaker] = {}
        self._cluster = shared is not None
        self._limiters = Limiters(self._accounts(), clock=clock, shared=shared, other=self._own_limits)

    def change(self, config: ModelsConfig) -> None:
        """Cores that are made from now on are as it says. Breakers and limiters of which it says the same as before
        remember what they know; calls in flight end with those that they have."""
        before, self.config = self.config, config
        self._budgeted, counted = budgeted(config), self._budgeted
        self._breakers = {
            name: breaker
            for name, breaker in self._breakers.items()
            if _rules(before, name) == _rules(config, name) and (name in counted) == (name in self._budgeted)
        }
        self._limiters.change(self._accounts())

    def limiters(self, name: str) -> tuple[Limiter, ...]:
        """Of the model `account/model`, its own first."""
        return self._limiters.of(*name.split("/", 1)) if "/" in name else ()

    def breaker(self, name: str) -> Breaker:
        """Of the model of this name, for all who ask it."""
        if (known := self._breakers.get(name)) is None:
            known = self._breakers[name] = self.new_breaker(name, counted=name in self._budgeted)
        return known

    def new_breaker(self, name: str, *, counted: bool = False) -> Breaker:
        """`counted`: by the ledger, where there is one."""
        ledger = self.ledger if counted else None
        spent = None if ledger is None else (lambda: ledger.spent(name))
        return Breaker(_rules(self.config, name) or Breaking(), clock=self.clock, spent=spent)

    def retry(self, name: str) -> Retry | None:
        return self._account(name).retry

    def speed(self, name: str) -> float:
        """The output tokens that the model writes in a second at most."""
        own = self._account(name).tokens_per_second
        return _FAST.get(name.partition("/")[0], TOKENS_PER_SECOND) if own is None else own

    def trouble(self, name: str) -> str | None:
        """Why the model would not answer now, as far as is known without asking; None where nothing is against it.
        Call it in the event loop."""
        breaker = self._breakers.get(name)
        if breaker is not None and (said := breaker.trouble()) is not None:
            return said
        left = max((limiter.wait() for limiter in self.limiters(name)), default=0.0)
        return f"its limits let no call go for {left:.0f} s" if left > _LATER else None

    def _accounts(self) -> dict[str, Limits]:
        entries = self.config.accounts.items()
        return {name: self._limits(entry.limits, entry) for name, entry in entries if entry.limits}

    def _own_limits(self, name: str) -> Limits:
        account = self._account(name)
        # Only a model's own limiter listens to the headers: what they say is of that model.
        return self._limits(self._model(name).limits, account, adaptive=account.adaptive)

    def _limits(self, limits: tuple[Limit, ...], account: AccountEntry, *, adaptive: bool = False) -> Limits:
        patience = PATIENCE if account.patience is None else account.patience
        cluster = account.cluster and self._cluster
        return Limits(limits=limits, adaptive=adaptive, cluster=cluster, patience=patience)

    def _model(self, name: str) -> ModelEntry:
        return self.config.models.get(name) or ModelEntry()

    def _account(self, name: str) -> AccountEntry:
        return self.config.accounts.get(name.partition("/")[0]) or AccountEntry()


def budgeted(config: ModelsConfig) -> frozenset[str]:
    """The configured models whose breakers have a budget, which the ledger shall count apart."""
    rules = {name: _rules(config, name) for name in config.models}
    return frozenset(name for name, breaking in rules.items() if breaking and breaking.budget is not None)


def stacked(model: Model, parts: Parts | None = None, *, own: bool = False) -> Model:
    """`model` as a core: charged, limited, guarded, tried again, made good, repaired, its media fitted, from the inside
    out. What it has already it does not get twice, so stacking again changes nothing.

    A program's `own` model object has no account: it is under no limits, and its breaker is its own. Stack it once and
    keep what you get, since the breaker remembers.
    """
    parts = parts or Parts()
    if isinstance(model, Whole):
        return model
    if isinstance(model, Degrading):
        return model.over(lambda each: stacked(each, parts, own=own))
    name, have = model.name, _layers(model)
    limiters = () if own or model.profile.local else parts.limiters(name)
    if parts.ledger is not None and Charging not in have:
        model = Charging(model, parts.ledger, speed=parts.speed(name))
    if limiters and Limited not in have:
        model = Limited(model, limiters)
    if Guarded not in have:
        model = Guarded(model, parts.new_breaker(name) if own else parts.breaker(name))
    if Retrying not in have:
        model = Retrying(model, parts.retry(name), clock=parts.clock, chance=parts.chance)
    for layer in (Batching, Continuing, Repairing, Fitting):
        model = model if layer in have else layer(model)
    return model


def _layers(model: Model) -> set[type[Wrapped]]:
    found: set[type[Wrapped]] = set()
    while isinstance(model, Wrapped):
        found.add(type(model))
        model = model.inner
    return found


def _rules(config: ModelsConfig, name: str) -> Breaking | None:
    model, account = config.models.get(name), config.accounts.get(name.partition("/")[0])
    return (model and model.breaker) or (account and account.breaker)
