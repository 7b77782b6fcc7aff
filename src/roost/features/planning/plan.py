"""The plan of a long task: kept in the session's state and as a pin, so that compaction never removes it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from roost.agent.session import Session
from roost.features.compaction.events import ContextPinned
from roost.features.compaction.state import CompactionState
from roost.features.compaction.tools import MOST, fits
from roost.features.planning.events import PlanChanged
from roost.features.planning.state import PlanState
from roost.log import events as ev
from roost.tools.errors import ToolError

_KEY = "plan"
_MARKS = {"todo": " ", "doing": ">", "done": "x", "dropped": "-"}


class OwnPlans:
    """The sub-goals of the session's task. call: the tool call that sets the plan."""

    def __init__(self, session: Session, call: str) -> None:
        self._session, self._call = session, call

    async def set(self, goals: Sequence[ev.Goal], score: int | None, note: str) -> str:
        """Set the plan. Returns the progress, for the model, when it is committed."""
        session, now = self._session, time.time()
        if not fits(session.state.part(CompactionState).pins, _KEY, shown(goals)):
            raise ToolError(f"the plan and what is pinned have at most {MOST} characters together; shorten one of them")
        former = session.state.part(PlanState).plan
        ended = sum(goal.state in ("done", "dropped") for goal in goals)
        eta = None if former is None else remaining(now - former.began, ended, len(goals))
        session.log.note(
            PlanChanged(at=now, goals=tuple(goals), score=score, note=note, ended=ended, eta=eta, call=self._call)
        )
        text = None if session.state.part(PlanState).plan is None else shown(goals)
        if text is not None or _KEY in session.state.part(CompactionState).pins:
            session.log.note(ContextPinned(at=now, key=_KEY, text=text))
        await session.log.flush_shielded()
        left = "" if eta is None or ended == len(goals) else f"; about {_span(eta)} left at this pace"
        return f"{ended} of {len(goals)} sub-goals are over{left}"


def remaining(spent: float, ended: int, goals: int) -> float | None:
    """Return the estimated seconds left at the present pace, or None if no goal has ended."""
    return spent * (goals - ended) / ended if ended else None


def shown(goals: Sequence[ev.Goal]) -> str:
    return "\n".join(f"[{_MARKS[goal.state]}] {goal.text}" for goal in goals)


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
