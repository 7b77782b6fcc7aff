"""From a state to a request."""

from __future__ import annotations

from roost.agent import money, stalls
from roost.agent.session import LiveSession
from roost.agent.state import transcript
from roost.llm.ir import Bill, Request


def build(session: LiveSession, bill: Bill) -> Request:
    """`bill` learns what the call costs."""
    spec, tools = session.spec, session.means.tools
    return Request(
        instruction=session.instruction,
        messages=transcript(session.state),
        tools=tuple(tool.spec for tool in tools.values()),
        max_output=spec.max_output,
        temperature=spec.temperature,
        intent=spec.intent,
        effort=stalls.effort(session),
        constraints=spec.constraints,
        output_hint=spec.output_hint,
        knobs=spec.knobs,
        meta=_meta(session),
        budgets=money.budgets(session),
        bill=bill,
    )


def _meta(session: LiveSession) -> dict[str, str]:
    state, step = session.state, session.state.open_step
    return {
        **session.about,
        "step": str(step.step if step else state.steps),
        "attempt": str(step.attempt if step else 1),
        "turn": str(state.turns),
    }
