"""Status of this process's models, for the router."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from roost.errors import RoostError
from roost.models.catalog.card import Card
from roost.models.request import Model

FRESH = 5.0
"""Seconds for which a result is cached: a key may be set, and weights be downloaded, at any time."""

Resolve = Callable[[str], Model]
"""Returns the model stack of a name. Raises `RoostError`, which names what to set."""


class Saving(Protocol):
    """Tells when to save money. `roost.money.ledger.Ledger` is one."""

    async def refresh(self) -> None:
        """Read the data for `constrained`, unless it was read just now. Never raises."""
        ...

    def constrained(self) -> str | None: ...


class ProcessModels:
    """Implements `ModelStatus`. `trouble`: returns what is against a model now. `saving`: tells when to save money. For
    one event loop."""

    def __init__(
        self,
        resolve: Resolve,
        *,
        trouble: Callable[[str], str | None] = lambda _: None,
        saving: Saving | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolve = resolve
        self._trouble = trouble
        self._saving = saving
        self._now = now
        self._known: dict[str, tuple[float, Card | str]] = {}

    def model(self, name: str) -> Model | None:
        """Return the model; None where it can no longer be made."""
        made = self._made(name)
        return None if isinstance(made, str) else made

    def card(self, model: str) -> Card | None:
        card = self._look(model)
        return card if isinstance(card, Card) else None

    def trouble(self, model: str) -> str | None:
        card = self._look(model)
        return card if isinstance(card, str) else self._trouble(card.name)

    def constrained(self) -> str | None:
        return None if self._saving is None else self._saving.constrained()

    async def refresh(self) -> None:
        """Read the data for `constrained`, before a request is routed."""
        if self._saving is not None:
            await self._saving.refresh()

    def _look(self, name: str) -> Card | str:
        """Return the card, or what to set."""
        now = self._now()
        if (known := self._known.get(name)) is None or now >= known[0]:
            known = self._known[name] = (now + FRESH, self._find(name))
        return known[1]

    def _find(self, name: str) -> Card | str:
        model = self._made(name)
        if isinstance(model, str):
            return model
        if not _has_weights(model):
            return "the local model's weights are not here: fetch them with `roost pull`"
        # Use the model's own name, which its breaker has: an account alone means its default model.
        account, _, rest = model.name.partition("/")
        return Card(account=account, model=rest, profile=model.profile)

    def _made(self, name: str) -> Model | str:
        try:
            return self._resolve(name)
        except RoostError as error:
            return error.message
        except Exception as error:  # a registered factory is foreign code
            return f"cannot be made: {type(error).__name__}: {error}"


def _has_weights(model: Model) -> bool:
    """Return whether the embedded model's weights are on this machine: a route must not begin with a download of a
    gigabyte."""
    if not (model.profile.local and model.name.startswith("local/")):
        return True
    from roost.local.cache import cache_dir, is_verified
    from roost.local.weights import resolve

    weights = resolve(model.name)
    if isinstance(weights, Path):
        return weights.exists()
    path = cache_dir() / weights.file
    return is_verified(path, weights.sha256, mark=path.with_name(f"{path.name}.verified"))
