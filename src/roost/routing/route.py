"""The router's input and output."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

import msgspec

from roost.models.catalog.card import Card
from roost.models.profile import MediaKind
from roost.models.request import Effort, Intent

StepName: TypeAlias = Literal["multimodal", "context", "long_horizon", "intent", "cost", "degradation"]
STEPS: tuple[StepName, ...] = ("multimodal", "context", "long_horizon", "intent", "cost", "degradation")
"""The steps in their order."""


class ProfileEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A profile of the router: a chain of models (`account/model`, the preferred one first) per intent. `chat` is for
    every intent without a chain. `effort`: for requests that name none."""

    design: tuple[str, ...] = ()
    plan: tuple[str, ...] = ()
    replan: tuple[str, ...] = ()
    execute: tuple[str, ...] = ()
    review: tuple[str, ...] = ()
    chat: tuple[str, ...] = ()
    chat_friendly: tuple[str, ...] = ()
    sub_agent: tuple[str, ...] = ()
    code_generation: tuple[str, ...] = ()
    multimodal: tuple[str, ...] = ()
    long_context: tuple[str, ...] = ()
    long_horizon: tuple[str, ...] = ()
    cheap: tuple[str, ...] = ()
    effort: str | None = None

    def of(self, intent: Intent | None) -> tuple[str, ...]:
        chain: tuple[str, ...] = () if intent is None else getattr(self, intent)
        return chain or self.chat


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """A request's features. `media`: kinds that the model must take. `shown`: kinds anywhere in the conversation; a
    model that takes them is better, others get notes in their place. `tokens`: the estimated input. `room`: most tokens
    of the answer."""

    media: frozenset[MediaKind] = frozenset()
    shown: frozenset[MediaKind] = frozenset()
    tokens: int = 0
    room: int = 0
    intent: Intent | None = None
    long_horizon: bool = False
    tools: bool = False
    schema: bool = False


class ModelStatus(Protocol):
    """Model status and budget now; asked for every request. Reads known data and never waits."""

    def card(self, model: str) -> Card | None:
        """Return a model's card; None where it cannot be used at all: no such account, or no key for it."""
        ...

    def trouble(self, model: str) -> str | None:
        """Return why not to ask the model now; None when nothing is against it. With a card, a transient reason (its
        breaker is open, its provider asks to wait); without one, what to set."""
        ...

    def constrained(self) -> str | None:
        """Return why to save money (the month's spending is past the warning); None when there is no need."""
        ...


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """`dropped`: the names that left the list at this step, with reasons. `chain`: the list after it."""

    step: StepName
    reason: str
    chain: tuple[str, ...]
    dropped: dict[str, str] = {}


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """`chain`: the models to ask in order; empty when none can take the request, and then the steps' `dropped` tells
    why. `steps`: the trace, one for each of `STEPS`. `effort`: the profile's, for a request that names none."""

    profile: str
    chain: tuple[str, ...]
    steps: tuple[Step, ...]
    effort: Effort | None = None
