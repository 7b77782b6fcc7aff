"""Fold plans into a session's state."""

from __future__ import annotations

import msgspec

from roost.agent.state import State
from roost.agent.state_parts import StatePart
from roost.features.planning.events import PlanChanged
from roost.features.stalls.state import StallTurn
from roost.log import events as ev

_POOR = 2
"""Highest score, of 1 to 5, that counts as poor and suggests another approach."""


class Plan(msgspec.Struct):
    """The plan of an unfinished task."""

    began: float
    goals: tuple[ev.Goal, ...]


class PlanState(StatePart):
    restored = ("plan",)
    plan: Plan | None = None


def take_plan(state: State, event: PlanChanged) -> None:
    part = state.part(PlanState)
    former, over = part.plan, all(goal.state in ("done", "dropped") for goal in event.goals)
    part.plan = None if over else Plan(event.at if former is None else former.began, event.goals)
    if state.turn is not None and event.score is not None:
        trail = state.turn.part(StallTurn).trail
        trail.poor = trail.poor + 1 if event.score <= _POOR else 0


PART = PlanState
FOLDS = {PlanChanged: take_plan}
