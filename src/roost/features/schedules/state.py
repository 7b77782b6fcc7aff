"""Fold events of schedules into a session's state."""

from __future__ import annotations

from typing import Literal

import msgspec

from roost.agent.state import Entry, State
from roost.agent.state_parts import StatePart, TurnPart
from roost.features.compaction.state import CompactionState, head
from roost.features.schedules.events import ContextCleared, ScheduleCleared, ScheduleFired, ScheduleSet
from roost.log import events as ev
from roost.log.content import AssistantMessage, Message, UserMessage
from roost.log.schedule_events import ScheduleSpec, TurnLimits
from roost.models.tokens import estimate

NOTHING = "HEARTBEAT_OK"
"""Answer of a heartbeat that had nothing to do."""
LIGHT = TurnLimits(steps=10, seconds=300.0)
"""Limits of a heartbeat's turn that has none of its own."""


class Schedule(msgspec.Struct):
    """A schedule. next: when it is due, without jitter; None while paused. last: due time of its newest run. idle:
    newest heartbeat turns in a row that had nothing to do."""

    spec: ScheduleSpec
    next: float | None = None
    paused: Literal["person", "idle"] | None = None
    last: float | None = None
    turn: int | None = None
    idle: int = 0


class Firing(msgspec.Struct):
    """The occurrence of a schedule that began a turn without a message."""

    schedule: str
    heartbeat: bool = False
    limits: TurnLimits | None = None


class Aside(msgspec.Struct):
    """The detached conversation, while a fresh turn runs that does not see it."""

    entries: list[Entry]
    summary: str
    unsaid: dict[str, str | None]


class ScheduleState(StatePart):
    """firing: the schedule occurrence that begins the next turn. clear: the next turn starts fresh; the conversation is
    detached for it. limited: a scheduled turn may have had a money limit."""

    schedules: dict[str, Schedule] = {}
    firing: Firing | None = None
    clear: bool = False
    aside: Aside | None = None
    limited: bool = False

    @property
    def money_limited(self) -> bool:
        return self.limited


class ScheduledTurn(TurnPart):
    """firing: the schedule occurrence that began the turn."""

    firing: Firing | None = None

    @property
    def limits(self) -> TurnLimits | None:
        return None if self.firing is None else self.firing.limits

    @property
    def unattended(self) -> bool:
        return self.firing is not None


def take(state: State, event: ScheduleSet | ScheduleFired | ScheduleCleared) -> None:
    part = state.part(ScheduleState)
    schedule = part.schedules.get(event.name)
    match event:
        case ScheduleSet():
            if schedule is None:
                schedule = part.schedules[event.name] = Schedule(event.spec)
            schedule.spec, schedule.next, schedule.paused, schedule.idle = event.spec, event.next, event.paused, 0
        case ScheduleCleared():
            part.schedules.pop(event.name, None)
        case ScheduleFired() if schedule is not None:
            schedule.next = event.next
            if event.run:
                beats, limits = schedule.spec.heartbeat, schedule.spec.limits
                part.limited = part.limited or (limits is not None and limits.money is not None)
                part.firing = Firing(event.name, beats, limits or (LIGHT if beats else None))
                schedule.last, schedule.turn = event.due or event.at, state.turns + 1
        case ScheduleFired():
            pass


def begin(state: State, event: ev.TurnStarted) -> None:
    """Begin a turn, perhaps one of a schedule."""
    part = state.part(ScheduleState)
    if state.turn is not None and part.firing is not None:
        state.turn.part(ScheduledTurn).firing, part.firing = part.firing, None


def set_aside(state: State, event: ev.InputReceived) -> None:
    """Detach the conversation if the next turn starts fresh. Pins stay in force."""
    part = state.part(ScheduleState)
    if not part.clear:
        return
    part.clear = False
    if part.aside is not None:
        return
    context = state.part(CompactionState)
    part.aside = Aside(state.entries, context.summary, dict(context.unsaid))
    pinned = head(context.pins, "")
    state.entries = [] if pinned is None else [Entry(pinned, estimate(pinned), 0, head=True)]
    context.summary = ""
    context.unsaid.clear()
    _count(state)


def end(state: State, event: ev.TurnCompleted) -> None:
    """End a turn whose calls are settled."""
    firing = None if state.turn is None else state.turn.part(ScheduledTurn).firing
    idle = False
    if firing is not None and firing.heartbeat:
        idle = _had_nothing(state, event)
        if (schedule := state.part(ScheduleState).schedules.get(firing.schedule)) is not None:
            schedule.idle = schedule.idle + 1 if idle else 0
    rejoin(state, answered=event.outcome == "answered" and not idle)


def rejoin(state: State, *, answered: bool = False) -> None:
    """Reattach the conversation, and append the answer of the fresh turn if there is one; the messages from a person's
    on if a person spoke in it."""
    part = state.part(ScheduleState)
    if part.aside is None:
        return
    aside, own, part.aside = part.aside, [entry for entry in state.entries if not entry.head], None
    said = [entry for entry in own if isinstance(entry.message, UserMessage)]
    if len(said) > 1:
        own = own[own.index(said[0]) :]
    elif said and answered and _answers(own[-1].message):
        own = [said[0], own[-1]]
    else:
        own = []
    context = state.part(CompactionState)
    state.entries, context.summary = [*aside.entries, *own], aside.summary
    context.unsaid = {**aside.unsaid, **context.unsaid}
    _count(state)


def says_nothing(text: str) -> bool:
    """Whether a heartbeat's answer says nothing."""
    return text.strip(" \n\t.!`*\"'").upper() in ("", NOTHING)


def _had_nothing(state: State, event: ev.TurnCompleted) -> bool:
    if event.outcome == "failed":
        return (event.reason or "").startswith("empty:")
    last = state.entries[-1].message if state.entries else None
    if event.outcome != "answered" or not isinstance(last, AssistantMessage):
        return False
    return says_nothing(last.text) and not last.media


def _answers(message: Message) -> bool:
    return isinstance(message, AssistantMessage) and not message.calls


def _count(state: State) -> None:
    state.tokens = sum(entry.tokens for entry in state.entries)


def _travelled(state: State, event: ev.SessionRolledBack | ev.SessionForked) -> None:
    rejoin(state)
    part = state.part(ScheduleState)
    part.firing, part.clear = None, False
    if isinstance(event, ev.SessionForked):
        part.schedules = {}


def _imported(state: State, event: ev.SessionImported) -> None:
    rejoin(state)
    part = state.part(ScheduleState)
    part.schedules, part.firing, part.limited = {}, None, False


def _clear(state: State, event: ContextCleared) -> None:
    state.part(ScheduleState).clear = True


PART = ScheduleState
TURN_PART = ScheduledTurn


FOLDS = {ScheduleSet: take, ScheduleFired: take, ScheduleCleared: take, ContextCleared: _clear}
WATCHES = {
    ev.InputReceived: set_aside,
    ev.TurnStarted: begin,
    ev.TurnCompleted: end,
    ev.SessionRolledBack: _travelled,
    ev.SessionForked: _travelled,
    ev.SessionImported: _imported,
}
