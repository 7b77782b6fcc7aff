"""Choose the intent of a new turn, and ask a person to approve the turn if the intent demands it."""

from __future__ import annotations

from roost.agent import intents, tool_calls
from roost.agent.session import Session
from roost.agent.state import unheard


def choose(session: Session) -> None:
    """Choose and note the intent of the open turn, once, as the turn begins."""
    given, state = session.spec.intents, session.state
    turn = state.turn
    if not given or turn is None or turn.intent or turn.steps:
        return
    said = "\n".join(intents.said_in(entry.message.parts) for entry in unheard(state))
    chosen = intents.note_of(state, given, session.means.tools, said)
    if chosen is None:
        return
    session.note(chosen)
    if turn.gate is not None:
        reason = f"the turn is to {chosen.intent.replace('_', ' ')}, and goes on when you say so"
        tool_calls.ask_person(session, turn.gate, reason, f"intent: {chosen.intent}")


def allowed(session: Session) -> bool:
    """Whether the turn may go on."""
    turn = session.state.turn
    return turn is None or turn.gate is None or turn.gate.status == "approved"


def refused(session: Session) -> str | None:
    """Return the reason to end the turn if a person rejected it, else None."""
    turn = session.state.turn
    gate = None if turn is None else turn.gate
    if gate is None or gate.status != "rejected":
        return None
    return f"a person said no{f': {gate.reason}' if gate.reason else ''}"
