"""The agent loop: model → tools → model. The next action depends on the state alone, so the same code runs a turn for
the first time and resumes it after a crash."""

from __future__ import annotations

from roost.agent import (
    checkpointing,
    child_messages,
    consolidation,
    inputs,
    job_tracking,
    limits,
    memory_steps,
    model_step,
    stalls,
    step_checks,
    surroundings,
    tool_calls,
    turn_budgets,
    turn_intent,
    undo_points,
)
from roost.agent.compaction import compact
from roost.agent.outcomes import close_calls, end_turn, fail_step
from roost.agent.schedules import firing
from roost.agent.session import Interrupted, Session
from roost.agent.workspace_saving import restore_files
from roost.log import events as ev


async def drive(session: Session) -> None:
    """Work until the session has nothing left to do: apply controls, then run turns.

    Returns when the inbox and the open turn are done, or when the session waits, is paused, is stopped or shuts down.
    All events are committed when it returns."""
    await turn_budgets.recover_charges(session)
    await child_messages.reconcile_children(session)
    while True:
        made, checks = await child_messages.load_children(session), session.means.checks
        if checks is not None and (end := inputs.pending_end(session)) is not None:
            await step_checks.before_end(session, checks, end)
            made = await child_messages.load_children(session)
        inputs.take_in(session, made)
        await job_tracking.reconcile_jobs(session)
        firing.pause_idle_heartbeats(session)
        await turn_budgets.close(session)
        if session.state.undo is not None:
            await checkpointing.finish_undo(session)
        if checkpointing.waits(session):
            await checkpointing.settle(session)
        await checkpointing.at_rest(session)
        if session.state.compact and not session.stopping:
            await compact.compact_now(session)
        if session.outdated and session.state.turn is None:
            session.shut_down(cut=False)
        running = session.state.state == "running" and not session.stopping
        if running and (session.state.turn is not None or inputs.begin_turn(session)):
            await run_turn(session)
            if session.means.checks is not None and session.state.turn is None:
                await step_checks.after_turn(session, session.means.checks)
            running = session.state.phase != "waiting"
        else:
            running = False
        await consolidation.consolidate_if_due(session)
        await session.flush()
        await turn_budgets.close(session)
        if not running and not inputs.has_control(session):
            return


async def run_turn(session: Session) -> None:
    """Run the open turn until it ends, waits or is interrupted."""
    session.clock.start()
    try:
        turn_intent.choose(session)
        await restore_files(session)
        await undo_points.undo_pending(session)
        await undo_points.at_turn(session)
        await memory_steps.recall_at_turn(session)
        await surroundings.note_at_turn(session)
        while session.state.turn is not None and session.cause() is None:
            if session.disturbed and not await _goes_on(session):
                return
            if session.state.calls:
                if await tool_calls.run(session):
                    return
            elif inputs.deliver_steer(session):
                continue
            elif session.state.answered:
                await _end(session, "answered")
            elif reason := _enough(session):
                await _end(session, "limit", reason)
            elif end := await model_step.run(session):
                await _end(session, end.outcome, end.reason)
    except Interrupted as interrupted:
        if interrupted.cause == "deadline":
            fail_step(session, "deadline", "the turn's time is up")
            close_calls(session, "cancelled", "the turn's time is up")
            await _end(session, "limit", limits.of_time(session))
    finally:
        if session.early is not None:
            await session.early.close()
        session.clock.stop()


async def _goes_on(session: Session) -> bool:
    """Handle the work that is due between two steps. Returns whether the turn is still open and may go on."""
    inputs.take_in(session)
    await job_tracking.reconcile_jobs(session)
    if await checkpointing.between_steps(session) and turn_intent.allowed(session):
        return True
    if reason := turn_intent.refused(session):
        await _end(session, "cancelled", reason)
    return False


async def _end(session: Session, outcome: ev.TurnOutcome, reason: str | None = None) -> None:
    if session.means.checks is not None:
        await step_checks.before_end(session, session.means.checks, outcome)
    end_turn(session, outcome, reason)


def _enough(session: Session) -> str | None:
    """Return the reason to make no further model call, or None."""
    if reason := limits.reached(session):
        fail_step(session, "limit", "the limit was reached before it could be made again")
        return reason
    return stalls.next_action(session)
