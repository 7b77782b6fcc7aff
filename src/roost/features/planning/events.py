"""Events of this feature."""

from __future__ import annotations

from roost.log.events import Event, Goal


class PlanChanged(Event, frozen=True, tag="plan.changed"):
    """The sub-goals of a long task, set by the tool call `call`. ended: how many are done or dropped. score: progress
    by the model's own judgement, 1 to 5. eta: seconds that the rest takes at the pace so far."""

    goals: tuple[Goal, ...]
    score: int | None = None
    note: str = ""
    ended: int = 0
    eta: float | None = None
    call: str | None = None

    @property
    def line(self) -> str:
        return f"plan: {self.ended} of {len(self.goals)}" + (f", {self.score}/5" if self.score else "")


EVENTS = (PlanChanged,)
