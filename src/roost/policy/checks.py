"""Checks beside the gate, ready for use: hooks by moment, guardrails by side, and the classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from roost.policy.classifier import ModelClassifier
from roost.policy.guardrails import Guard, PatternGuard, Side
from roost.policy.hooks import MOMENTS, Hook, When
from roost.policy.patterns import Patterns
from roost.sandbox.base import Sandbox


class Checks(msgspec.Struct, frozen=True, kw_only=True):
    """hands: where hook programs run: on this machine, outside the agent's sandbox."""

    hooks: Mapping[When, tuple[Hook, ...]]
    guards: Mapping[Side, tuple[Guard, ...]]
    classifier: ModelClassifier | None
    hands: Sandbox

    @property
    def judges_answers(self) -> bool:
        """Whether checks judge answers: then no one may see an answer before it is complete."""
        return "post_model" in self.hooks or "output" in self.guards


def checks_of(
    hooks: Sequence[Hook],
    guards: Sequence[Guard],
    classifier: ModelClassifier | None,
    hands: Sandbox,
    patterns: Patterns,
) -> Checks | None:
    """Sort the checks; None if there are none. Hooks keep their order. patterns: searches for guardrails' patterns."""
    if not hooks and not guards and classifier is None:
        return None
    moments: dict[When, tuple[Hook, ...]] = {on: tuple(hook for hook in hooks if on in hook.on) for on in MOMENTS}
    guards = [guard.searched_by(patterns) if isinstance(guard, PatternGuard) else guard for guard in guards]
    sides: dict[Side, tuple[Guard, ...]] = {
        "input": tuple(guard for guard in guards if "input" in guard.on),
        "output": tuple(guard for guard in guards if "output" in guard.on),
    }
    return Checks(
        hooks={on: found for on, found in moments.items() if found},
        guards={side: found for side, found in sides.items() if found},
        classifier=classifier,
        hands=hands,
    )
