"""Close steps, calls and turns that do not end by themselves. Every call in a log gets an outcome."""

from __future__ import annotations

import time

from roost.agent.feature import asked
from roost.agent.session import Session
from roost.agent.state import Call
from roost.log import events as ev
from roost.log.content import ErrorData, ResultPart, Text, ToolOutcome, Usage
from roost.log.session_info import TurnOutcome

UNDONE = "[the files of the workspace are again what they were before this call]"
UNKNOWN_EFFECT = "[interrupted: it is not known whether this call took effect; check before you repeat it]"


def end_turn(session: Session, outcome: TurnOutcome, reason: str | None = None) -> None:
    turn = session.state.turn
    if turn is not None:
        if turn.gate is not None:
            clear_deadline(session, turn.gate.call.id)
        session.log.note(
            ev.TurnCompleted(
                at=time.time(),
                turn=turn.number,
                outcome=outcome,
                reason=reason,
                steps=turn.steps,
                usage=turn.usage,
                seconds=round(session.clock.used(), 3),
            ),
            deliver=[one for feature in asked(session, "ending") for one in feature.ending(session, outcome, reason)],
        )
        for feature in asked(session, "ended"):
            feature.ended(session, turn)


def end_call(session: Session, call: str, outcome: ToolOutcome, text: str, *, why: str | None = None) -> None:
    session.log.note(ev.ToolCompleted(at=time.time(), call=call, outcome=outcome, parts=(Text(text),), why=why))
    clear_deadline(session, call)


def deadline(call: str) -> str:
    """Return the name of the timer that ends the wait for a person."""
    return f"approval:{call}"[:200]


def clear_deadline(session: Session, call: str) -> None:
    if session.state.timers and (timer := deadline(call)) in session.state.timers:
        session.log.note(ev.TimerCleared(at=time.time(), timer=timer))
        session.log.set_timer(timer, None)


def close_calls(session: Session, outcome: ToolOutcome, text: str) -> None:
    """Give every open call an outcome. The text for a running one says that it may have taken effect."""
    for call in list(session.state.calls):
        if call.status == "awaiting":
            end_call(session, call.call.id, outcome, f"[{outcome}: {text}]")
            for feature in asked(session, "call_closed"):
                feature.call_closed(session, call)
        elif call.status == "running":
            unknown = UNKNOWN_EFFECT if call.replay != "safe" else f"[{outcome}: {text}]"
            end_call(session, call.call.id, outcome, unknown)
        elif call.status != "done":
            end_call(session, call.call.id, outcome, skipped_text(call, text))


def skipped_text(call: Call, why: str) -> str:
    """Return the model's text for a call that will not run. An earlier attempt that was cut off may have had its
    effect."""
    return f"[not run again: {why}] {UNKNOWN_EFFECT}" if call.attempt else f"[not run: {why}]"


def skip_if_steered(session: Session, call: Call) -> bool:
    """Skip a call not yet started once a steering message arrived. Returns whether it was skipped."""
    if session.interrupts.cause(steer=True) != "steer":
        return False
    end_call(session, call.call.id, "skipped", skipped_text(call, "the user said something new first"))
    return True


def with_changes(call: Call, parts: tuple[ResultPart, ...]) -> tuple[ResultPart, ...]:
    """Put a note before the result of a call whose arguments a hook or a person changed."""
    if call.changed is None:
        return parts
    return (Text(f"[{call.changed_by} changed the arguments to {call.changed}]"), *parts)


def fail_step(session: Session, code: str, message: str, *, seconds: float = 0.0, usage: Usage | None = None) -> None:
    """End the open model call, if any, without an answer."""
    step = session.state.open_step
    if step is not None:
        error = ErrorData(code, message)
        session.log.note(ev.ModelFailed(at=time.time(), step=step.step, error=error, seconds=seconds, usage=usage))


def leave_open(session: Session) -> None:
    """Close what cannot stay open during a pause; other calls resume later. Like a crash, but noted in the log."""
    fail_step(session, "paused", "the session was paused")
    for call in list(session.state.calls):
        if call.status == "running" and call.replay == "never":
            end_call(session, call.call.id, "interrupted", UNKNOWN_EFFECT)
