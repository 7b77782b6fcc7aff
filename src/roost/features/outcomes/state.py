"""Fold goals and their checks into a session's state."""

from __future__ import annotations

from roost.agent.fold import say, spend
from roost.agent.state import State
from roost.agent.state_parts import StatePart, TurnPart
from roost.features.outcomes import goal as goals
from roost.features.outcomes.events import OutcomeDefined, OutcomeGraded, OutcomeJudged
from roost.features.outcomes.goal import Finding, Goal
from roost.log import events as ev
from roost.log.content import Text, UserMessage


class OutcomeState(StatePart):
    """goal: None without one. status: of the goal. attempts: answers checked. findings: of the last check. walled: as
    in `OutcomeDefined`. ended: when it was met or given up, as Unix time."""

    goal: Goal | None = None
    status: goals.State = "open"
    attempts: int = 0
    findings: tuple[Finding, ...] = ()
    walled: bool = False
    ended: float | None = None

    @property
    def open(self) -> bool:
        return self.goal is not None and self.status == "open"


class OutcomeTurn(TurnPart):
    """step: the model call whose answer was checked last in this turn."""

    step: int = 0


def _defined(state: State, event: OutcomeDefined) -> None:
    part = state.part(OutcomeState)
    part.goal, part.walled = event.goal, event.walled
    part.status, part.attempts, part.findings, part.ended = "open", 0, (), None


def _judged(state: State, event: OutcomeJudged) -> None:
    part = state.part(OutcomeState)
    part.attempts, part.findings = event.attempt, event.findings
    if event.met:
        part.status = "met"
    elif not event.message:
        part.status = "unmet"
    if not event.message:
        part.ended = event.at
    if state.turn is not None:
        state.turn.part(OutcomeTurn).step = event.step
    if event.message:
        say(state, UserMessage((Text(event.message),)))


def _graded(state: State, event: OutcomeGraded) -> None:
    spend(state, event.usage)


def _left(state: State, event: ev.SessionImported) -> None:
    """A goal that another home has set runs commands there, not here."""
    state.parts[OutcomeState] = OutcomeState()


PART = OutcomeState
TURN_PART = OutcomeTurn
FOLDS = {OutcomeDefined: _defined, OutcomeGraded: _graded, OutcomeJudged: _judged}
WATCHES = {ev.SessionImported: _left}
