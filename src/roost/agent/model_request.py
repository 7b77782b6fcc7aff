"""Build a model request from a session's state."""

from __future__ import annotations

from typing import cast

from roost.agent import stalls, turn_budgets
from roost.agent.session import Session
from roost.agent.state import State, transcript
from roost.models.request import Bill, Intent, Request


def build(session: Session, bill: Bill) -> Request:
    """Build the next request. bill: collects the cost of the call."""
    spec, turn = session.spec, session.state.turn
    return Request(
        instruction=session.instruction,
        messages=transcript(session.state),
        tools=session.tool_specs,
        max_output=spec.max_output,
        temperature=spec.temperature,
        intent=spec.intent if turn is None or turn.calls is None else cast("Intent", turn.calls),
        effort=stalls.effort(session),
        constraints=spec.constraints,
        output_hint=spec.output_hint,
        knobs=spec.knobs,
        meta=_meta(session),
        budgets=turn_budgets.budgets(session),
        bill=bill,
        since=_since(session.state),
    )


def _since(state: State) -> int:
    """Return the index of the first message of the open turn; the number of messages if no turn is open."""
    if state.turn is None:
        return len(state.entries)
    for place in range(len(state.entries) - 1, -1, -1):
        if state.entries[place].turn == state.turn.number:
            return place
    return 0


def _meta(session: Session) -> dict[str, str]:
    state, step = session.state, session.state.open_step
    return {
        **session.about,
        "step": str(step.step if step else state.steps),
        "attempt": str(step.attempt if step else 1),
        "turn": str(state.turns),
    }
