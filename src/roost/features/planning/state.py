"""Fold plans into a session's state."""

from __future__ import annotations

from roost.agent.state import Plan, State
from roost.features.planning.events import PlanChanged

_POOR = 2
"""Highest score, of 1 to 5, that counts as poor and suggests another approach."""


def take_plan(state: State, event: PlanChanged) -> None:
    former, over = state.plan, all(goal.state in ("done", "dropped") for goal in event.goals)
    state.plan = None if over else Plan(event.at if former is None else former.began, event.goals)
    if state.turn is not None and event.score is not None:
        trail = state.turn.trail
        trail.poor = trail.poor + 1 if event.score <= _POOR else 0


FOLDS = {PlanChanged: take_plan}
