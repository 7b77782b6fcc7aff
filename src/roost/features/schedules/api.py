"""Schedules of sessions, and their unprompted answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta

from roost.api.shapes import AcceptedInput, Answer, Position
from roost.log.schedule_events import ScheduleSpec
from roost.log.session_info import SessionState
from roost.operation import DELETE, GET, POST, PUT

_ALL = "/sessions/{session}/schedules"
_ONE = f"{_ALL}/{{name}}"


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
    session_state: SessionState
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


class ScheduleList(Answer):
    """By session and name. `next`: the `after` of the next page."""

    schedules: list[ScheduleView]
    next: str | None = None


class Ordered(Answer):
    """`accepted`: on disk, in effect once the session's step in progress has ended. `done`: in effect, and the schedule
    no longer exists."""

    status: Literal["accepted", "done"]


def _ordered(result: ScheduleView | Ordered, given: Mapping[str, Any]) -> int:
    return 202 if isinstance(result, Ordered) and result.status == "accepted" else 200


class SchedulesApi(Protocol):
    @GET("/schedules", right="read")
    async def list(
        self,
        *,
        after: Annotated[str, Meta(max_length=128)] = "",
        limit: Annotated[int, Meta(ge=1, le=500)] = 100,
    ) -> ScheduleList:
        """The schedules of all sessions.

        Schedules of the first `limit` sessions that have any, after the former page's `next`.
        """
        ...

    @GET(_ALL, errors=(404,), right="read")
    async def of(self, session: str) -> ScheduleList:
        """The schedules of a session."""
        ...

    @GET(_ONE, errors=(404,), right="read")
    async def get(self, session: str, name: str) -> ScheduleView:
        """A schedule, and when it comes due next."""
        ...

    @PUT(_ONE, (200, 202), status=_ordered, body="spec", errors=(404, 409), keyed=True, adopts="idle", right="use")
    async def set(
        self, session: str, name: str, spec: ScheduleSpec, *, key: str | None = None, wait: float | None = None
    ) -> ScheduleView | Ordered:
        """Make a schedule, or change it."""
        ...

    @DELETE(_ONE, (200, 202), status=_ordered, errors=(404,), adopts="idle", right="use")
    async def delete(self, session: str, name: str, *, wait: float | None = None) -> Ordered:
        """Take a schedule away."""
        ...

    @POST(f"{_ONE}/pause", (200, 202), status=_ordered, errors=(404, 409), keyed=True, adopts="idle", right="use")
    async def pause(
        self, session: str, name: str, *, key: str | None = None, wait: float | None = None
    ) -> ScheduleView | Ordered:
        """Let nothing of it fire any more."""
        ...

    @POST(f"{_ONE}/resume", (200, 202), status=_ordered, errors=(404, 409), keyed=True, adopts="idle", right="use")
    async def resume(
        self, session: str, name: str, *, key: str | None = None, wait: float | None = None
    ) -> ScheduleView | Ordered:
        """Go on with a paused schedule."""
        ...

    @POST(f"{_ONE}/run", 202, errors=(404, 409), keyed=True, right="use")
    async def run(self, session: str, name: str, *, key: str | None = None) -> AcceptedInput:
        """Have it run now, once."""
        ...

    @GET("/sessions/{session}/outbox", errors=(404,), right="read")
    async def outbox(
        self, session: str, *, after: Position = 0, limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    ) -> Outbox:
        """Return the answers that no person asked for, such as those of schedules, for a program that delivers them.

        `after`: the `next` of the former response.
        """
        ...
