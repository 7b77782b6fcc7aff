"""Choose the models for a request, their order and the reasons: six steps over the models of a profile."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from roost.models.catalog.card import Card
from roost.models.profile import MediaKind
from roost.models.request import EFFORTS
from roost.routing.route import STEPS, Features, ModelStatus, ProfileEntry, Route, Step, StepName

_CHAINS = tuple(name for name in ProfileEntry.__struct_fields__ if name != "effort")


def route(features: Features, entry: ProfileEntry, standing: ModelStatus, *, profile: str = "default") -> Route:
    """Route a request. Pure: the same features, entry and standing give the same route.

    Any model in any chain of the profile may be chosen; the chains give the order. Each step drops models that cannot
    take the request, or moves suitable ones to the front, behind those that earlier steps moved there; only `cost`
    moves models in front of all. A model in trouble comes last but stays: the trouble may pass. A dropped model never
    returns, so the chain is empty only if no model of the profile can take the request. A name without a card is
    ignored until the last step drops it.
    """
    steps = _Chosen(features, entry, standing).steps()
    effort = entry.effort if entry.effort in EFFORTS else None
    return Route(profile=profile, chain=steps[-1].chain, steps=steps, effort=effort)


def named(entry: ProfileEntry) -> tuple[str, ...]:
    """Return every model of a profile, once, in the order of its chains."""
    return tuple(dict.fromkeys(name for chain in _CHAINS for name in getattr(entry, chain)))


def unfit(card: Card, features: Features) -> str | None:
    """Return why the model cannot take the request, whatever the preferences; None when it can."""
    return _deaf(card, features.media) or _short(card, features) or _unable(card, features)


def _deaf(card: Card, media: Iterable[MediaKind]) -> str | None:
    missing = sorted(kind for kind in media if not card.profile.takes(kind))
    return f"takes no {' and no '.join(missing)}" if missing else None


def _short(card: Card, features: Features) -> str | None:
    window, need = card.profile.window, features.tokens + min(features.room, card.profile.max_output)
    return f"its window is {window} tokens" if need > window else None


def _unable(card: Card, features: Features) -> str | None:
    if card.kind != "chat":
        return "makes embeddings"
    return "calls no tools" if features.tools and not card.profile.tools else None


class _Chosen:
    """The list that the steps work on: the models moved to the front, and the rest in the profile's order."""

    def __init__(self, features: Features, entry: ProfileEntry, standing: ModelStatus) -> None:
        self._features = features
        self._entry = entry
        self._standing = standing
        self._front: list[str] = []
        self._rest = list(named(entry))
        self._cards = {name: standing.card(name) for name in self._rest}

    def steps(self) -> tuple[Step, ...]:
        each = (self._multimodal, self._context, self._long_horizon, self._intent, self._cost, self._degradation)
        return tuple(self._step(name, do) for name, do in zip(STEPS, each, strict=True))

    def _step(self, name: StepName, do: Callable[[], tuple[str, dict[str, str]]]) -> Step:
        reason, dropped = do()
        return Step(step=name, reason=reason, chain=(*self._front, *self._rest), dropped=dropped)

    def _multimodal(self) -> tuple[str, dict[str, str]]:
        media, seen = self._features.media, self._features.media | self._features.shown
        if not seen:
            return "no media", {}
        dropped = self._drop(lambda card: _deaf(card, media))
        self._prefer(self._entry.multimodal)
        how = "new, must be taken" if media else "of before"
        return f"{', '.join(sorted(seen))} {how}: those for media first", dropped

    def _context(self) -> tuple[str, dict[str, str]]:
        first = next((name for name in self._entry.of(self._features.intent) if self._card(name)), None)
        dropped = self._drop(lambda card: _short(card, self._features))
        size = f"about {self._features.tokens} tokens"
        if first not in dropped:
            return f"{size}: fits", dropped
        self._prefer(self._entry.long_context)
        return f"{size}: too long for {first}, those for long contexts first", dropped

    def _long_horizon(self) -> tuple[str, dict[str, str]]:
        if not self._features.long_horizon:
            return "no long task", {}
        self._prefer(self._entry.long_horizon)
        return "a long task: those for it first", {}

    def _intent(self) -> tuple[str, dict[str, str]]:
        intent = self._features.intent
        dropped = self._drop(lambda card: _unable(card, self._features))
        self._prefer(self._entry.of(intent))
        if self._features.schema:
            self._front.sort(key=lambda name: not self._has_schema(name))
        reason = f"{intent}: its chain" if intent and getattr(self._entry, intent) else f"{intent or 'any'}: as chat"
        return reason + (", who keeps to a schema first" if self._features.schema else ""), dropped

    def _cost(self) -> tuple[str, dict[str, str]]:
        if (why := self._standing.constrained()) is None:
            return "no need to save", {}
        front, self._front = self._front, []
        self._rest = [*front, *self._rest]
        cheap = self._prefer(self._entry.cheap)
        return f"{why}: {'the cheap ones first' if cheap else 'the profile names no cheap one that can take it'}", {}

    def _degradation(self) -> tuple[str, dict[str, str]]:
        dropped = {
            name: self._standing.trouble(name) or "cannot be asked here"
            for name in (*self._front, *self._rest)
            if self._cards[name] is None
        }
        fit = [name for name in (*self._front, *self._rest) if name not in dropped]
        later = {name: why for name in fit if (why := self._standing.trouble(name)) is not None}
        self._front, self._rest = [name for name in fit if name not in later], list(later)
        if not fit:
            return "no model is left", dropped
        reason = "; ".join(f"{name} later: {why}" for name, why in later.items())
        return reason or "nothing is against any of them", dropped

    def _card(self, name: str) -> Card | None:
        """Return the card of a model that is still on the list."""
        return self._cards[name] if name in self._front or name in self._rest else None

    def _has_schema(self, name: str) -> bool:
        card = self._cards[name]
        return card is not None and card.profile.json_schema

    def _drop(self, why: Callable[[Card], str | None]) -> dict[str, str]:
        dropped = {
            name: reason for name, card in self._cards.items() if self._card(name) and card and (reason := why(card))
        }
        self._front = [name for name in self._front if name not in dropped]
        self._rest = [name for name in self._rest if name not in dropped]
        return dropped

    def _prefer(self, names: Iterable[str]) -> list[str]:
        """Move those `names` that are still in the rest to the end of the front. Returns them."""
        moved = [name for name in dict.fromkeys(names) if name in self._rest]
        self._front += moved
        self._rest = [name for name in self._rest if name not in moved]
        return moved
