"""Fold decisions of hooks, guardrails and the classifier into a session's state."""

from __future__ import annotations

from roost.agent.fold import spend
from roost.agent.state import State, replace_message, unheard
from roost.features.hooks.events import PolicyDecided
from roost.log.content import Text, UserMessage


def _decided(state: State, event: PolicyDecided) -> None:
    spend(state, event.usage)
    call = state.call(event.call) if event.call is not None else None
    if call is not None and event.arguments is not None and event.decision == "modify":
        call.changed, call.changed_by = event.arguments, event.by
    if event.decision == "deny" and event.on in ("input", "turn_start"):
        for entry in unheard(state):
            replace_message(state, entry, UserMessage((Text(f"[withheld: {event.reason}]"),)))


FOLDS = {PolicyDecided: _decided}
