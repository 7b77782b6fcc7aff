"""Endpoints for the schedules of sessions and for their unprompted answers."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from roost.kernel.outbox import Outbox, outbox
from roost.kernel.schedules import ScheduleView
from roost.log.schedule_events import ScheduleSpec
from roost.server.responses import Reply, json
from roost.server.row_handler import Call, Endpoint, Nothing
from roost.server.shapes import AcceptedInput, Position


class _Shape(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class SchedulesQuery(_Shape):
    """Schedules of the first `limit` sessions that have any, after the former page's `next`."""

    after: Annotated[str, Meta(max_length=128)] = ""
    limit: Annotated[int, Meta(ge=1, le=500)] = 100


class ScheduleList(_Shape):
    """By session and name. `next`: the `after` of the next page."""

    schedules: list[ScheduleView]
    next: str | None = None


class Ordered(_Shape):
    """`accepted`: on disk, in effect once the session's step in progress has ended. `done`: in effect, and the schedule
    no longer exists."""

    status: Literal["accepted", "done"]


class OutboxQuery(_Shape):
    """`after`: the `next` of the former response."""

    after: Position = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


async def find(call: Call[Nothing, SchedulesQuery]) -> Reply:
    query = call.query
    found, following = await call.api.runtime.schedules.list(after=query.after, limit=query.limit)
    return json(200, ScheduleList(schedules=found, next=following))


async def of_session(call: Call[Nothing, Nothing]) -> Reply:
    return json(200, ScheduleList(schedules=await call.api.runtime.schedules.of(call.session)))


async def show(call: Call[Nothing, Nothing]) -> Reply:
    return json(200, await call.api.runtime.schedules.get(call.session, call.params["name"]))


async def put(call: Call[ScheduleSpec, Nothing]) -> Reply:
    schedules = call.api.runtime.schedules
    return _ordered(await schedules.set(call.session, call.params["name"], call.body, key=call.key))


async def pause(call: Call[Nothing, Nothing]) -> Reply:
    return _ordered(await call.api.runtime.schedules.pause(call.session, call.params["name"], key=call.key))


async def resume(call: Call[Nothing, Nothing]) -> Reply:
    return _ordered(await call.api.runtime.schedules.resume(call.session, call.params["name"], key=call.key))


async def run(call: Call[Nothing, Nothing]) -> Reply:
    head = (await call.api.sessions.get(call.session)).head
    accepted = await call.api.runtime.schedules.run(call.session, call.params["name"], key=call.key)
    return json(202, AcceptedInput(input=accepted.id, duplicate=accepted.duplicate, head=head))


async def delete(call: Call[Nothing, Nothing]) -> Reply:
    done = await call.api.runtime.schedules.delete(call.session, call.params["name"])
    return json(200, Ordered(status="done")) if done else json(202, Ordered(status="accepted"))


async def read_outbox(call: Call[Nothing, OutboxQuery]) -> Reply:
    query = call.query
    return json(200, await outbox(call.api.sessions, call.session, after=query.after, limit=query.limit))


def _ordered(view: ScheduleView | None) -> Reply:
    return json(202, Ordered(status="accepted")) if view is None else json(200, view)


_ALL = "/sessions/{session}/schedules"
_ONE = f"{_ALL}/{{name}}"

ENDPOINTS = [
    Endpoint(
        method="GET",
        path="/schedules",
        summary="The schedules of all sessions",
        handler=find,
        body=Nothing,
        query=SchedulesQuery,
        answers={200: ScheduleList},
    ),
    Endpoint(
        method="GET",
        path=_ALL,
        summary="The schedules of a session",
        handler=of_session,
        body=Nothing,
        query=Nothing,
        answers={200: ScheduleList},
        errors=(404,),
    ),
    Endpoint(
        method="GET",
        path=_ONE,
        summary="A schedule, and when it comes due next",
        handler=show,
        body=Nothing,
        query=Nothing,
        answers={200: ScheduleView},
        errors=(404,),
    ),
    Endpoint(
        method="PUT",
        path=_ONE,
        summary="Make a schedule, or change it",
        handler=put,
        body=ScheduleSpec,
        query=Nothing,
        answers={200: ScheduleView, 202: Ordered},
        errors=(404, 409),
        keyed=True,
    ),
    Endpoint(
        method="DELETE",
        path=_ONE,
        summary="Take a schedule away",
        handler=delete,
        body=Nothing,
        query=Nothing,
        answers={200: Ordered, 202: Ordered},
        errors=(404,),
    ),
    *(
        Endpoint(
            method="POST",
            path=f"{_ONE}/{order}",
            summary=summary,
            handler=handler,
            body=Nothing,
            query=Nothing,
            answers={200: ScheduleView, 202: Ordered},
            errors=(404, 409),
            keyed=True,
        )
        for order, summary, handler in (
            ("pause", "Let nothing of it fire any more", pause),
            ("resume", "Go on with a paused schedule", resume),
        )
    ),
    Endpoint(
        method="POST",
        path=f"{_ONE}/run",
        summary="Have it run now, once",
        handler=run,
        body=Nothing,
        query=Nothing,
        answers={202: AcceptedInput},
        errors=(404, 409),
        keyed=True,
    ),
    Endpoint(
        method="GET",
        path="/sessions/{session}/outbox",
        summary="What the session has said without being asked, for whoever brings it to people",
        handler=read_outbox,
        body=Nothing,
        query=OutboxQuery,
        answers={200: Outbox},
        errors=(404,),
    ),
]
