"""The model stack of a node: every model call goes through the ledger and a model's wrappers."""

from __future__ import annotations

from collections.abc import Callable

from roost.log.content import Usage
from roost.log.store import Store
from roost.models.catalog.card import Card
from roost.models.catalog.reader import catalog
from roost.models.request import Model
from roost.money.budgets import Terms
from roost.money.ledger import Ledger
from roost.providers.accounts import Models
from roost.providers.auto_model import connect
from roost.providers.config import ModelsConfig
from roost.providers.model_stack import Parts, budgeted, stacked
from roost.routing.profiles import Profiles


class ModelPool:
    """Wrap every model that `models` resolves in a model stack (`roost.providers.model_stack`), charged to the
    cluster's one ledger, and add the name `auto`. `models` belongs to this node until `close`. Raises `ConfigError`.
    Implements `roost.agent.resources.Ledger`."""

    def __init__(self, models: Models, store: Store, *, node: str, lease: float) -> None:
        self.ledger = _ledger(models.config, store, node, lease)
        self.parts = Parts(models.config, shared=store.coordination, ledger=self.ledger)
        self.profiles = connect(models, self.parts, shared=store.coordination, saving=self.ledger)
        self._models = models
        self._store = store
        self._outer = models.wrap
        models.wrap = self._wrap

    def check(self, config: ModelsConfig) -> None:
        """Check whether `change` would accept it. Raises `ConfigError`."""
        Profiles(config)
        Terms(config.budget, _rate(config))

    def change(self, config: ModelsConfig) -> None:
        """Apply a configuration to new calls; calls in flight end under the old one. Raises `ConfigError`, and changes
        nothing."""
        self.check(config)
        self.ledger.change(config.budget, rate=_rate(config), models=budgeted(config))
        self.profiles.change(config)
        self.parts.change(config)
        self._models.change(config)

    def stack(self, model: Model, *, own: bool = False) -> Model:
        """Wrap a model in a stack; a stack is returned as it is. `own`: a model object that a program brought."""
        return stacked(model, self.parts, own=own)

    def rate(self, currency: str) -> float | None:
        """Return a currency's worth in dollars; None where it is unknown."""
        return _rate(self._models.config)(currency)

    def rate_of(self) -> str | None:
        """Return the date, or the file, of the budget currency's rate; None for dollars."""
        config = self._models.config
        currency = config.budget.currency
        if currency == "USD":
            return None
        return "models.toml" if currency in config.rates else catalog().rates.dated

    async def recover(self, session: str) -> Usage | None:
        return await self.ledger.recover(session)

    async def balance(self, budget: str) -> int:
        return (await self._store.ledger.balance(budget)).spent

    async def forget(self, *budgets: str) -> None:
        await self.ledger.forget(*budgets)

    async def forget_session(self, session: str) -> None:
        """Delete the budgets of a deleted session. Raises `StoreFailed`."""
        await self.ledger.recover(session)
        turns = f"turn:{session}:"
        over = [name for name in await self._store.ledger.balances(turns) if name.removeprefix(turns).isdigit()]
        await self.ledger.forget(*over, f"session:{session}", f"tree:{session}")

    async def close(self) -> None:
        """Close, after the models and before the store."""
        self._models.wrap = self._outer
        await self.ledger.close()

    def _wrap(self, model: Model, card: Card) -> Model:
        return self.stack(model if self._outer is None else self._outer(model, card))


def _ledger(config: ModelsConfig, store: Store, node: str, lease: float) -> Ledger:
    models, rate = budgeted(config), _rate(config)
    return Ledger(store, owner=node, budget=config.budget, rate=rate, models=models, window=lease)


def _rate(config: ModelsConfig) -> Callable[[str], float | None]:
    return lambda currency: config.rates.get(currency) or catalog().rate(currency)
