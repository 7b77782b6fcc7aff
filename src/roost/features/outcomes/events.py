"""Events and inputs of this feature."""

from __future__ import annotations

from typing import ClassVar

from roost.features.outcomes.goal import Finding, Goal
from roost.log.content import Usage
from roost.log.events import Event, Spent
from roost.log.inputs import Input


class OutcomeDefined(Event, frozen=True, tag="outcome.defined"):
    """The session has a `goal` from now on, in place of any other; None: it has none any more. walled: its commands run
    behind an isolation boundary only, since an account has set them."""

    goal: Goal | None
    input: int
    by: str | None = None
    walled: bool = False

    @property
    def line(self) -> str:
        return "goal withdrawn" if self.goal is None else "goal set: answers are checked"


class OutcomeJudged(Event, frozen=True, tag="outcome.judged"):
    """The answer of model call `step` was checked, as attempt `attempt`. message: what the agent gets to read, if the
    turn goes on; without it, the goal is met or given up. goal: its `id`."""

    step: int
    attempt: int
    met: bool
    findings: tuple[Finding, ...] = ()
    message: str = ""
    goal: str = ""

    @property
    def line(self) -> str:
        failed = [one for one in self.findings if not one.met]
        why = "" if self.met else f": {', '.join(f'{one.kind} {one.what[:60]}' for one in failed[:3])}"
        return f"check {self.attempt}: {'met' if self.met else 'not met'}{why}"


class OutcomeGraded(Event, frozen=True, tag="outcome.graded"):
    """A grader was asked. usage: what that cost, also if it was cut off."""

    purpose: ClassVar[str] = "outcome"
    usage: Usage
    model: str = ""

    @property
    def spent(self) -> Spent | None:
        return Spent(self.usage, name=self.model or "grader", exact=False)


class DefineOutcomeInput(Input, frozen=True, tag="outcome"):
    """Set the session's goal, or with None withdraw it. walled: as in the event."""

    goal: Goal | None
    walled: bool = False


EVENTS = (OutcomeDefined, OutcomeGraded, OutcomeJudged)
INPUTS = (DefineOutcomeInput,)
