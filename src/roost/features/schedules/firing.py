"""Handle schedules in the session's driver.

A firing is one commit: it consumes the inbox item of the timer, arms the next firing and begins the turn. A firing that
does not fit the state (the schedule was paused, changed or deleted after the timer was set) is dropped, in any order.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Literal, NamedTuple

from roost.agent.inputs import open_turn
from roost.agent.session import Session
from roost.errors import Invalid
from roost.features.schedules.events import (
    ContextCleared,
    DueInput,
    ScheduleCleared,
    ScheduleFired,
    ScheduleInput,
    ScheduleSet,
    timer_of,
)
from roost.features.schedules.recurrence import Verdict, delay, following, judge
from roost.features.schedules.state import NOTHING, Schedule, ScheduleState
from roost.log import events as ev
from roost.log.content import Text
from roost.log.protocols import InboxItem, TimerSpec
from roost.log.schedule_events import ScheduleSpec
from roost.time_zones import zone_of

NEVER = 253_370_764_800.0
"""The year 9999. A paused schedule keeps its timer, because schedules are found by their timers; its firing is
dropped."""
FIRED = "schedule.due"
"""Type of the input that a schedule's timer puts into the inbox; by it pending firings are found."""
MOST = 64
"""Most schedules of one session."""
_HEARTBEAT = f"[Nobody waits for this answer. If there is nothing to do or to say, answer {NOTHING} and nothing else.]"


def order(session: Session, item: InboxItem) -> None:
    """Apply an order to a schedule. Its pending firings in the inbox are dropped."""
    given = item.input
    assert isinstance(given, ScheduleInput)
    schedules = session.state.part(ScheduleState).schedules
    schedule = schedules.get(given.name)
    spec = given.spec if given.order == "set" else None if schedule is None else schedule.spec
    if spec is None or (schedule is None and len(schedules) >= MOST):
        session.log.drop(item)
        return
    for late in list(session.inbox):
        if isinstance(late.input, DueInput) and late.input.name == given.name and late.input.due is not None:
            session.log.drop(late)
    paused = _paused(given, schedule)
    if given.order == "delete":
        _clear(session, given.name, "deleted", item.id)
    else:
        _set(session, given.name, spec, paused, since=item.accepted_at, item=item.id)


def fire(session: Session, item: InboxItem) -> bool:
    """Handle a firing. Returns whether a turn begins with it."""
    given = item.input
    assert isinstance(given, DueInput)
    schedule = session.state.part(ScheduleState).schedules.get(given.name)
    now = session.means.now()
    by_hand = given.due is None
    if schedule is None or not (by_hand or (schedule.paused is None and schedule.next == given.due)):
        session.log.drop(item)
        return False
    spec, verdict = schedule.spec, Verdict(now, schedule.next, 0)
    try:
        zone = zone_of(spec.zone)
        if given.due is not None:
            session.log.note(ev.TimerFired(at=time.time(), timer=timer_of(given.name), input=item.id))
            verdict = judge(spec, _seed(session, given.name), given.due, now)
    except Invalid as error:  # this machine does not know the time zone
        _clear(session, given.name, str(error), item.id)
        return False
    due, runs = given.due if verdict.run is None else verdict.run, verdict.run is not None
    fired = ScheduleFired(
        at=time.time(),
        name=given.name,
        due=None if by_hand else due,
        next=verdict.next,
        input=item.id,
        missed=verdict.missed,
        run=runs,
    )
    session.log.note(fired, consume=item.id)
    if verdict.next is not None and not by_hand:
        _arm(session, given.name, spec, verdict.next)
    elif not by_hand:
        _clear(session, given.name, "nothing of it is left to come")
    if verdict.run is not None:
        shown = datetime.fromtimestamp(verdict.run, zone)
        _say(session, item, _Said(given.name, spec, shown, verdict.missed))
    return runs


def pause_idle_heartbeats(session: Session) -> None:
    """Pause heartbeats that had nothing to do for long."""
    for name, schedule in list(session.state.part(ScheduleState).schedules.items()):
        if schedule.spec.heartbeat and schedule.paused is None and schedule.idle >= schedule.spec.idle_after:
            _set(session, name, schedule.spec, "idle", since=session.means.now())


def rouse(session: Session) -> None:
    """Resume paused heartbeats: a person spoke."""
    for name, schedule in list(session.state.part(ScheduleState).schedules.items()):
        if schedule.paused == "idle":
            _set(session, name, schedule.spec, None, since=session.means.now())


def _paused(given: ScheduleInput, schedule: Schedule | None) -> Literal["person", "idle"] | None:
    match given.order:
        case "pause":
            return "person"
        case "set" if schedule is not None and schedule.paused == "person":
            return "person"
        case _:
            return None


def _set(
    session: Session,
    name: str,
    spec: ScheduleSpec,
    paused: Literal["person", "idle"] | None,
    *,
    since: float,
    item: int | None = None,
) -> None:
    """Set a schedule. since: time of the order; firings due since then count as missed."""
    then: float | None = None
    if paused is None:
        try:
            then = spec.at if spec.at is not None else following(spec, since, anchor=since)
        except Invalid as error:
            _clear(session, name, str(error), item)
            return
    _disarm(session, name)
    if then is None:
        session.log.set_timer(timer_of(name), TimerSpec(timer_of(name), NEVER, DueInput(name, NEVER)))
    event = ScheduleSet(at=time.time(), name=name, spec=spec, next=then, paused=paused, input=item)
    session.log.note(event, consume=item)
    if then is not None:
        _arm(session, name, spec, then)


def _clear(session: Session, name: str, why: str, item: int | None = None) -> None:
    _disarm(session, name)
    session.log.note(ScheduleCleared(at=time.time(), name=name, why=why, input=item), consume=item)


def _arm(session: Session, name: str, spec: ScheduleSpec, due: float) -> None:
    timer, late = timer_of(name), due + delay(spec, _seed(session, name), due)
    session.log.note(ev.TimerSet(at=time.time(), timer=timer, due=late))
    session.log.set_timer(timer, TimerSpec(timer, late, DueInput(name, due)))


def _disarm(session: Session, name: str) -> None:
    timer = timer_of(name)
    if timer in session.state.timers:
        session.log.note(ev.TimerCleared(at=time.time(), timer=timer))
    session.log.set_timer(timer, None)


class _Said(NamedTuple):
    name: str
    spec: ScheduleSpec
    due: datetime
    missed: int


def _say(session: Session, item: InboxItem, said: _Said) -> None:
    """Begin a turn with the firing."""
    name, spec = said.name, said.spec
    if spec.fresh or spec.heartbeat:
        session.log.note(ContextCleared(at=time.time()))
    more = f"; {said.missed} before it were missed" if said.missed else ""
    head = f"[schedule {name}, {said.due:%A %Y-%m-%d %H:%M %Z}{more}]"
    text = "\n".join([head, spec.text, *([_HEARTBEAT] if spec.heartbeat else [])])
    session.log.note(ev.InputReceived(at=time.time(), input=item.id, parts=(Text(text),), source=timer_of(name)))
    open_turn(session, item)


def _seed(session: Session, name: str) -> str:
    return f"{session.id}:{name}"
