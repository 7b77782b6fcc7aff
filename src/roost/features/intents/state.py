"""Fold the intent of a turn into a session's state."""

from __future__ import annotations

import msgspec

from roost.agent.state import Call, State
from roost.agent.state_parts import TurnPart
from roost.features.intents.events import IntentChosen
from roost.log.content import ToolCall


class IntentTurn(TurnPart):
    """intent: what the turn is about, once chosen. tools, calls: as in `IntentChosen`."""

    intent: str = ""
    tools: tuple[str, ...] | None = None
    calls: str | None = None


def gate_of(turn: int) -> str:
    """Return the call id under which a person approves or rejects a whole turn."""
    return f"turn:{turn}"


def take_chosen(state: State, event: IntentChosen) -> None:
    turn = state.turn
    if turn is None or turn.number != event.turn:
        return
    part = turn.part(IntentTurn)
    part.intent, part.tools, part.calls = event.intent, event.tools, event.calls
    if event.confirm:
        shown = {} if event.tools is None else {"tools": event.tools}
        turn.gate = Call(ToolCall(gate_of(turn.number), event.intent, msgspec.json.encode(shown).decode()))


TURN_PART = IntentTurn
FOLDS = {IntentChosen: take_chosen}
