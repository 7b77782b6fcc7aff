"""What the router is asked and what it answers."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

import msgspec

from roost.models.catalog.card import Card
from roost.models.profile import MediaKind
from roost.models.request import Effort, Intent

StepName: TypeAlias = Literal["multimodal", "context", "long_horizon", "intent", "cost", "degradation"]
STEPS: tuple[StepName, ...] = ("multimodal", "context", "long_horizon", "intent", "cost", "degradation")
"""In their order."""


class ProfileEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which models a profile of the router asks, by what a call is for; each a chain, the first preferred, named as
    `account/model`. `chat` is the one for every intent that has none of its own. `effort` holds where the request names
    none."""

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
    """What a request is, for the router. `media` are the kinds that a model must take, `shown` those that are anywhere
    in the conversation: a model that takes them is better, the others get notes in their place. `tokens` are estimated,
    of the input; `room` is what the answer may have."""

    media: frozenset[MediaKind] = frozenset()
    shown: frozenset[MediaKind] = frozenset()
    tokens: int = 0
    room: int = 0
    intent: Intent | None = None
    long_horizon: bool = False
    tools: bool = False
    schema: bool = False


class Standing(Protocol):
    """How things are now; asked anew for every request. Reads what is known and never waits."""

    def card(self, model: str) -> Card | None:
        """None where the model cannot be asked at all: no such account, or no key for it."""
        ...

    def trouble(self, model: str) -> str | None:
        """Why the model should not be asked now: with a card, what will pass (its breaker is open, its provider asks to
        wait); without one, what to set. None: nothing is against it."""
        ...

    def constrained(self) -> str | None:
        """Why money is to be saved: the month's spending is past the warning. None: it is not."""
        ...


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """`dropped` are names with the reason why each left the list at this step; `chain` is the list after it."""

    step: StepName
    said: str
    chain: tuple[str, ...]
    dropped: dict[str, str] = {}


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """`chain` is whom to ask, the first first; empty when nobody can, and then `dropped` of the steps tells why.
    `steps` is the whole trace, one for each of `STEPS`. `effort` is the profile's, for a request that names none."""

    profile: str
    chain: tuple[str, ...]
    steps: tuple[Step, ...]
    effort: Effort | None = None
