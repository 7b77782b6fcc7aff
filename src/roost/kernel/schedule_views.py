"""Views of schedules and of unprompted answers, for callers."""

from __future__ import annotations

from typing import Literal

import msgspec

from roost.log import events as ev
from roost.log.schedule_events import ScheduleSpec


class Moment(msgspec.Struct, frozen=True):
    """`at`: seconds since 1970. `local`: the same in the schedule's time zone, with its offset."""

    at: float
    local: str


class ScheduleView(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule by its session's log. `coming`: the next due times before jitter; none while it is not active. `idle`:
    runs in a row with nothing to do. `last`: due time of the last run, in `turn`. `session_state`: unless created or
    running, due runs wait."""

    session: str
    agent: str
    session_state: ev.SessionState
    name: str
    spec: ScheduleSpec
    state: Literal["active", "paused", "idle"]
    coming: tuple[Moment, ...] = ()
    last: Moment | None = None
    turn: int | None = None
    idle: int = 0


class Proactive(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of a turn that no person waits for. `source` began it: `schedule:NAME`, `timer:NAME`, or the end of
    background work, `child:SESSION` or `job:ID`. `seq`: the position of the turn's end."""

    seq: int
    at: float
    turn: int
    source: str
    text: str


class Outbox(msgspec.Struct, frozen=True, kw_only=True):
    """`next`: the position to continue from. Up to there, `messages` has all that is to be delivered."""

    messages: tuple[Proactive, ...]
    next: int
