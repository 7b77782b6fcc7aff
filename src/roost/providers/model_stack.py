"""Build the model stack: a model with its wrappers."""

from __future__ import annotations

import random
from collections.abc import Callable

from roost.log.coordination import Coordination
from roost.models.media_fitting import Fitting
from roost.models.model_wrapper import ModelWrapper, Whole
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

_chance = random.Random().random
"""Its own generator: the program's may be seeded."""


PATIENCE = 120.0
"""Longest wait of a call for its limits, in seconds, where no account says otherwise; as long as `Retry` waits."""
_FAST = {"groq": 2_000.0, "cerebras": 4_000.0}
"""Output tokens per second of accounts that are faster than `TOKENS_PER_SECOND`."""
_LATER = 2.0
"""Seconds of waiting, for a limit or a provider's request, from which another model is asked first."""


class Parts:
    """The shared parts of a process's model stacks: the limits of each account and model, one breaker per model, the
    clock.

    config: names limits and breakers. By default a model has a breaker, and a limiter that obeys the provider's
        headers.
    shared: counts the limits that hold for the cluster; without it they hold for this process.
    ledger: charges every call; it must count the models of `budgeted` apart. Without it nothing is charged, and a
        breaker with a budget adds up what it sees.
    chance: draws the jitter within 0 and 1.
    """

    def __init__(
        self,
        config: ModelsConfig | None = None,
        *,
        clock: Clock | None = None,
        shared: Coordination | None = None,
        ledger: Ledger | None = None,
        chance: Callable[[], float] = _chance,
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
        """Apply a configuration to new stacks. Breakers and limiters with unchanged rules keep their state; calls in
        flight end with their old ones."""
        before, self.config = self.config, config
        self._budgeted, counted = budgeted(config), self._budgeted
        self._breakers = {
            name: breaker
            for name, breaker in self._breakers.items()
            if _rules(before, name) == _rules(config, name) and (name in counted) == (name in self._budgeted)
        }
        self._limiters.change(self._accounts())

    def limiters(self, name: str) -> tuple[Limiter, ...]:
        """Return the limiters of the model `account/model`, its own first."""
        return self._limiters.of(*name.split("/", 1)) if "/" in name else ()

    def breaker(self, name: str) -> Breaker:
        """Return the breaker of a model, shared by all its callers."""
        if (known := self._breakers.get(name)) is None:
            known = self._breakers[name] = self.new_breaker(name, counted=name in self._budgeted)
        return known

    def new_breaker(self, name: str, *, counted: bool = False) -> Breaker:
        """Create a breaker. `counted`: the ledger, if any, counts its budget."""
        ledger = self.ledger if counted else None
        spent = None if ledger is None else (lambda: ledger.spent(name))
        return Breaker(_rules(self.config, name) or Breaking(), clock=self.clock, spent=spent)

    def retry(self, name: str) -> Retry | None:
        return self._account(name).retry

    def speed(self, name: str) -> float:
        """Return the most output tokens per second that the model writes."""
        own = self._account(name).tokens_per_second
        return _FAST.get(name.partition("/")[0], TOKENS_PER_SECOND) if own is None else own

    def trouble(self, name: str) -> str | None:
        """Return why the model would not answer now, without sending a request; None where nothing is against it. Call
        it in the event loop."""
        breaker = self._breakers.get(name)
        if breaker is not None and (reason := breaker.trouble()) is not None:
            return reason
        left = max((limiter.wait() for limiter in self.limiters(name)), default=0.0)
        return f"its limits let no call go for {left:.0f} s" if left > _LATER else None

    def _accounts(self) -> dict[str, Limits]:
        entries = self.config.accounts.items()
        return {name: self._limits(entry.limits, entry) for name, entry in entries if entry.limits}

    def _own_limits(self, name: str) -> Limits:
        account = self._account(name)
        # Only a model's own limiter reads the headers: they are about that model.
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
    """Return the configured models whose breakers have a budget; the ledger counts them apart."""
    rules = {name: _rules(config, name) for name in config.models}
    return frozenset(name for name, breaking in rules.items() if breaking and breaking.budget is not None)


def stacked(model: Model, parts: Parts | None = None, *, own: bool = False) -> Model:
    """Wrap `model` in a stack. From the inside out: charging, limits, breaker, retry, recovery, tool repair, media. A
    layer that it already has is not added again, so stacking is idempotent.

    A program's `own` model object has no account: it has no limits, and a breaker of its own. Stack it once and keep
    the result, since the breaker keeps state.
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


def _layers(model: Model) -> set[type[ModelWrapper]]:
    layers: set[type[ModelWrapper]] = set()
    while isinstance(model, ModelWrapper):
        layers.add(type(model))
        model = model.inner
    return layers


def _rules(config: ModelsConfig, name: str) -> Breaking | None:
    model, account = config.models.get(name), config.accounts.get(name.partition("/")[0])
    return (model and model.breaker) or (account and account.breaker)
