"""The agent loop: model → tools → model. The next action depends on the state alone, so the same code runs a turn for
the first time and resumes it after a crash. What a session can do beyond that are its features (`roost.agent.feature`),
which the loop asks at their seams."""

from __future__ import annotations

from roost.agent import inputs, limits, model_step, tool_calls
from roost.agent.approvals import turn_approved, turn_rejected
from roost.agent.feature import asked, consider
from roost.agent.interrupts import Interrupted
from roost.agent.outcomes import close_calls, end_turn, fail_step
from roost.agent.session import Session
from roost.agent.speculation import Speculation
from roost.log.session_info import TurnOutcome


async def drive(session: Session) -> None:
    """Work until the session has nothing left to do: apply controls, then run turns.

    Returns when the inbox and the open turn are done, or when the session waits, is paused, is stopped or shuts down.
    All events are committed when it returns."""
    if not session.own(_Woken).done:
        for feature in asked(session, "wake"):
            await feature.wake(session)
        session.own(_Woken).done = True
    while True:
        await _prepare_orders(session)
        inputs.take_in(session)
        consider(session)
        for feature in asked(session, "between_turns"):
            await feature.between_turns(session)
        works = session.state.state == "running" and not session.interrupts.stopping
        if works := works and (session.state.turn is not None or inputs.begin_turn(session)):
            await run_turn(session)
            if session.state.turn is None:
                for feature in asked(session, "after_turn"):
                    await feature.after_turn(session)
            works = session.state.phase != "waiting"
        for feature in asked(session, "at_rest"):
            await feature.at_rest(session)
        await session.log.flush()
        if not works and not inputs.has_control(session):
            return


async def prepare_sleep(session: Session) -> None:
    """Let the features prepare for sleep, or for another node. Raises `StoreFailed`."""
    for feature in asked(session, "before_sleep"):
        await feature.before_sleep(session)


async def run_turn(session: Session) -> None:
    """Run the open turn until it ends, waits or is interrupted."""
    session.clock.start()
    try:
        for feature in asked(session, "enter_turn"):
            await feature.enter_turn(session)
        while session.state.turn is not None and session.interrupts.cause() is None:
            if _is_due(session) and not await _goes_on(session):
                return
            if session.state.calls:
                if await tool_calls.run(session):
                    return
            elif inputs.deliver_steer(session):
                continue
            elif session.state.answered:
                await _end(session, "answered")
            elif reason := limits.reached(session):
                fail_step(session, "limit", "the limit was reached before it could be made again")
                await _end(session, "limit", reason)
            elif end := await model_step.run(session):
                await _end(session, end.outcome, end.reason)
    except Interrupted as interrupted:
        if interrupted.cause == "deadline":
            fail_step(session, "deadline", "the turn's time is up")
            close_calls(session, "cancelled", "the turn's time is up")
            await _end(session, "limit", limits.of_time(session))
    finally:
        await session.own(Speculation).close()
        session.clock.stop()


class _Woken:
    """Whether the features have reconciled the session since it woke."""

    def __init__(self, session: Session) -> None:
        self.done = False


async def _prepare_orders(session: Session) -> None:
    """Let features prepare for the controls in the inbox, which are applied next."""
    if not session.inbox:
        return
    if (how := inputs.pending_end(session)) is not None:
        for feature in asked(session, "before_end"):
            await feature.before_end(session, how)
    for feature in asked(session, "before_orders"):
        await feature.before_orders(session)


def _is_due(session: Session) -> bool:
    """Whether work besides the conversation may be due between two steps. Mostly not."""
    turn = session.state.turn
    if session.inbox.items or (turn is not None and turn.gate is not None):
        return True
    for feature in asked(session, "due"):  # noqa: SIM110 - faster than a generator
        if feature.due(session):
            return True
    return False


async def _goes_on(session: Session) -> bool:
    """Handle the work that is due between two steps. Returns whether the turn is still open and may go on."""
    inputs.take_in(session)
    consider(session)
    for feature in asked(session, "between_steps"):
        await feature.between_steps(session)
    if session.state.turn is not None and turn_approved(session):
        return True
    if reason := turn_rejected(session):
        await _end(session, "cancelled", reason)
    return False


async def _end(session: Session, outcome: TurnOutcome, reason: str | None = None) -> None:
    for feature in asked(session, "before_end"):
        await feature.before_end(session, outcome)
    end_turn(session, outcome, reason)
