"""Check a session's answers against its goal, at the seams of the loop."""

from __future__ import annotations

import asyncio
import time

from roost.agent.feature import Feature
from roost.agent.outcomes import end_turn
from roost.agent.session import Session
from roost.errors import RoostError
from roost.features.budgets import charging
from roost.features.outcomes import checks, grading
from roost.features.outcomes.events import DefineOutcomeInput, OutcomeDefined, OutcomeGraded, OutcomeJudged
from roost.features.outcomes.goal import Finding, Goal, told
from roost.features.outcomes.ports import CheckRoom, Copy
from roost.features.outcomes.state import OutcomeState, OutcomeTurn
from roost.features.snapshots.workspace_saving import restore_files
from roost.log.protocols import InboxItem
from roost.models.request import Bill, Model


def _define(session: Session, item: InboxItem) -> None:
    order = item.input
    assert isinstance(order, DefineOutcomeInput)
    event = OutcomeDefined(at=time.time(), goal=order.goal, input=item.id, by=order.account, walled=order.walled)
    session.log.note(event, consume=item.id)


class Outcomes(Feature):
    """An answer ends the turn only once the goal is met, or given up. The check belongs to the turn: its limits of time
    and money hold, a pause, a cancel or another goal cuts it off, and after a crash it is made again, since it changes
    nothing."""

    takes = {DefineOutcomeInput: _define}

    def used(self, session: Session) -> bool:
        return session.state.part(OutcomeState).open

    def due(self, session: Session) -> bool:
        turn = session.state.turn
        return turn is not None and session.state.answered and turn.part(OutcomeTurn).step != session.state.steps

    async def between_steps(self, session: Session) -> None:
        part = session.state.part(OutcomeState)
        if self.due(session) and part.open and part.goal is not None:
            await _judge(session, part.goal, part.attempts + 1)


async def _judge(session: Session, goal: Goal, attempt: int) -> None:
    """Check the newest answer, and note the verdict with what follows from it. Raises `Interrupted`,
    `ObjectsFailed`."""
    await session.log.flush()  # the answer is committed before the check begins
    bill = Bill()
    try:
        found = await session.interrupts.interruptible(
            lambda: _findings(session, goal, bill), steer=False, kinds=(DefineOutcomeInput,)
        )
    finally:  # the grader's cost counts even if it is cut off
        if bill.calls:
            session.log.note(OutcomeGraded(at=time.time(), usage=bill.usage, model=bill.model))
            if bill.usage.cost != 0:
                charging.mark_charged(session)
    met, left = all(one.met for one in found), goal.attempts - attempt
    message = told(found, left) if not met and left > 0 else ""
    step = session.state.steps
    session.log.note(OutcomeJudged(step, attempt, met, found, message, goal.id, at=time.time()))
    await session.log.flush()
    if not met and left <= 0:
        failed = next(one for one in found if not one.met)
        times = f"{attempt} attempt{'s' if attempt > 1 else ''}"
        end_turn(session, "failed", f"the goal is not met after {times}: {failed.kind} {failed.what[:200]}")


async def _findings(session: Session, goal: Goal, bill: Bill) -> tuple[Finding, ...]:
    """Check in a copy of the files. What cannot be checked is not met."""
    means = session.means
    room = means.find(CheckRoom)
    if room is None:
        return (Finding("command", "the check", False, "this node cannot check"),)
    await restore_files(session)
    try:
        async with room.copy(means.workspace.root) as copy:
            graded = bool(goal.rubric.strip())
            # Listed before the commands, which may run code of the agent that changes the copy.
            files = await asyncio.to_thread(grading.shown_files, copy.folder) if graded else ""
            found = await _checked(session, goal, copy)
            if graded and all(one.met for one in found):
                found += await _graded(session, goal, files, found, _grader(session, goal, room), bill)
            return found
    except (RoostError, OSError) as error:
        return (Finding("command", "the check", False, f"it could not be made: {error}"),)


async def _checked(session: Session, goal: Goal, copy: Copy) -> tuple[Finding, ...]:
    if goal.commands and session.state.part(OutcomeState).walled and copy.sandbox.level < 1:
        why = "an account's commands run only where the session's sandbox isolates"
        return (Finding("command", goal.commands[0], False, why),)
    return await checks.check(goal, copy)


async def _graded(
    session: Session, goal: Goal, files: str, found: tuple[Finding, ...], model: Model, bill: Bill
) -> tuple[Finding, ...]:
    return await grading.grade(
        goal,
        session.state,
        files,
        found,
        model,
        bill=bill,
        budgets=charging.budgets(session),
        meta={**session.about, "purpose": "outcome"},
    )


def _grader(session: Session, goal: Goal, room: CheckRoom) -> Model:
    return session.means.model if goal.grader is None else room.grader(goal.grader)


FEATURE = Outcomes()
