"""Events and inputs of this feature."""

from __future__ import annotations

from typing import ClassVar, Literal

from roost.log.events import Event
from roost.log.inputs import Input, InterruptCause, Urgency
from roost.log.schedule_events import ScheduleSpec
from roost.time_zones import local_time


class ScheduleSet(Event, frozen=True, tag="schedule.set"):
    """The schedule's definition from now on. next: when it comes due, before jitter. paused: by a person, or because it
    had nothing to do for a long time."""

    name: str
    spec: ScheduleSpec
    next: float | None
    paused: Literal["person", "idle"] | None = None
    input: int | None = None

    @property
    def line(self) -> str:
        if self.next is not None:
            return f"schedule {self.name}: comes due {local_time(self.next, self.spec.zone):%Y-%m-%d %H:%M %Z}"
        return f"schedule {self.name}: " + ("rests, there was nothing to do" if self.paused == "idle" else "paused")


class ScheduleFired(Event, frozen=True, tag="schedule.fired"):
    """The schedule came due at `due`, or a person ran it (None). run: whether this firing begins a turn. missed:
    firings that get no turn of their own; of very many, only the first are counted."""

    name: str
    due: float | None
    next: float | None
    input: int
    missed: int = 0
    run: bool = True

    @property
    def line(self) -> str | None:
        return None if self.run else f"schedule {self.name}: {self.missed} missed"


class ScheduleCleared(Event, frozen=True, tag="schedule.cleared"):
    """The schedule is removed. why: a person removed it, or it has no firing left."""

    name: str
    why: str
    input: int | None = None

    @property
    def line(self) -> str:
        return f"schedule {self.name} is no more: {self.why}"


class ContextCleared(Event, frozen=True, tag="context.cleared"):
    """The turn that begins does not see the conversation. At its end the conversation returns, with this turn's
    messages added."""


class ScheduleInput(Input, frozen=True, tag="schedule"):
    """An order for a schedule. `set` creates or changes it with `spec`."""

    name: str
    order: Literal["set", "pause", "resume", "delete"]
    spec: ScheduleSpec | None = None


class DueInput(Input, frozen=True, tag="schedule.due"):
    """A schedule came due at `due`; None: a person runs it now."""

    urgency: ClassVar[Urgency] = 0

    name: str
    due: float | None = None

    @property
    def interrupts(self) -> InterruptCause | None:
        return "message"

    @property
    def fired(self) -> str:
        return timer_of(self.name)


def timer_of(name: str) -> str:
    """Return the name of a schedule's timer."""
    return f"schedule:{name}"


TIMERS = {"schedule:": "schedules, which `roost schedule` changes"}
EVENTS = (
    ScheduleSet,
    ScheduleFired,
    ScheduleCleared,
    ContextCleared,
)
INPUTS = (
    ScheduleInput,
    DueInput,
)
