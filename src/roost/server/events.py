"""Endpoints for a session's log, as pages and as a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import cast

import msgspec

from roost.errors import Busy, Conflict, Invalid
from roost.kernel.stream import Frame
from roost.log.events import Event
from roost.log.tail import Follower
from roost.server.app_state import Api
from roost.server.responses import ReplyCall, json
from roost.server.row_handler import Call, Endpoint, Nothing
from roost.server.shapes import Entry, EventPage, EventsQuery
from roost.server.stream import PING_SECONDS, EventStream, Watch


async def events(call: Call[Nothing, EventsQuery]) -> ReplyCall:
    after = _position(call.header(b"last-event-id")) if call.wants_stream else None
    if after is None:
        after = call.query.after
    head = (await call.api.sessions.get(call.session)).head
    if after > head:
        raise Conflict(f"the log ends at {head}; there is nothing after {after} yet", code="ahead_of_log")
    if call.wants_stream:
        check_room(call.api)
        return open_stream(call.api, call.session, after=after, deltas=call.query.deltas)
    records = await call.api.sessions.history(call.session, after=after, limit=call.query.limit)
    entries = [Entry(seq=record.seq, event=msgspec.Raw(record.body)) for record in records]
    return json(200, EventPage(events=entries, head=max(head, records[-1].seq if records else 0)))


STREAMS = 1000
"""Most streams open at once. A reader that reads nothing holds up to a megabyte until it is disconnected."""


def check_room(api: Api) -> None:
    """Refuse a stream when too many are open; call it before any other work. Raises `Busy`."""
    if len(api.streams) >= STREAMS:
        raise Busy(f"{STREAMS} streams are open; close some, or try again later", code="too_many_streams")


def open_stream(
    api: Api, session: str, *, after: int | Follower, deltas: bool, watch: Watch | None = None
) -> EventStream:
    """Open a session's stream. A given `Follower` is closed with it."""
    frames = api.sessions.stream(session, after=after, deltas=deltas, idle=PING_SECONDS)
    follower = after if isinstance(after, Follower) else None
    return EventStream(api, session, cast("AsyncGenerator[list[Frame], None]", frames), watch, follower)


def _position(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Invalid(f"Last-Event-ID {text!r} is not the number of an event")
    return int(text)


ENDPOINTS = [
    Endpoint(
        method="GET",
        path="/sessions/{session}/events",
        summary="The log after a position: a page, or as a stream all of it and then what happens",
        handler=events,
        body=Nothing,
        query=EventsQuery,
        answers={200: EventPage[Event]},
        errors=(404, 409),
        streams=True,
    )
]
