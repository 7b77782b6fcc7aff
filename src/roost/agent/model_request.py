"""Build a model request from a session's state."""

from __future__ import annotations

from roost.agent.feature import Draft, asked
from roost.agent.request_plan import answer_schema, tool_specs
from roost.agent.session import Session
from roost.agent.state import State, transcript
from roost.models.request import Bill, Request


def build(session: Session, bill: Bill) -> Request:
    """Build the next request. bill: collects the cost of the call."""
    spec = session.spec
    draft = Draft(spec.intent, spec.effort)
    for feature in asked(session, "shape"):
        feature.shape(session, draft)
    return Request(
        instruction=session.instruction,
        messages=transcript(session.state),
        tools=tool_specs(session),
        tool_choice=draft.tool_choice,
        max_output=spec.max_output or None,
        temperature=spec.temperature,
        intent=draft.intent,
        effort=draft.effort,
        output_schema=answer_schema(session),
        constraints=spec.constraints,
        output_hint=spec.output_hint,
        knobs=spec.knobs,
        meta=_meta(session),
        budgets=draft.budgets,
        bill=bill,
        since=session.own(_Beginning).place(session.state),
    )


class _Beginning:
    """Where the open turn begins among the messages. The place is kept, so that a long turn is not searched again for
    every call; only a compaction moves it."""

    def __init__(self, session: Session) -> None:
        self._place = 0

    def place(self, state: State) -> int:
        """Return the index of the first message of the open turn; the number of messages if no turn is open."""
        entries, turn = state.entries, state.turn
        if turn is None:
            return len(entries)
        if self._place >= len(entries) or entries[self._place].turn != turn.number:
            back = (place for place in range(len(entries) - 1, -1, -1) if entries[place].turn == turn.number)
            self._place = next(back, 0)
        return self._place


def _meta(session: Session) -> dict[str, str]:
    state, step = session.state, session.state.open_step
    return {
        **session.about,
        "step": str(step.step if step else state.steps),
        "attempt": str(step.attempt if step else 1),
        "turn": str(state.turns),
    }
