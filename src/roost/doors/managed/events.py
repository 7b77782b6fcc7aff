"""The events of sessions: sent, listed and streamed. And their threads, which are the children of sessions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.types import Receive, Scope

from roost.doors.managed.event_list import EventPlace, newest_first, oldest_first, with_inputs
from roost.doors.managed.event_reader import Shown
from roost.doors.managed.event_stream import MESSAGES, THOUGHTS, SessionStream
from roost.doors.managed.requests import TIMES, Query, answer, body_of, opened, repeated, sealed, seconds_of
from roost.doors.managed.sending import EventsGiven, Sending, SendOrder, digest_of
from roost.doors.managed.session_records import status_of
from roost.doors.managed.sessions import Sessions
from roost.doors.managed.unheard import Unheard
from roost.errors import Conflict, Invalid
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.responses import ReplyCall
from roost.server.sessions import check_room

_PAGE, _MOST, _TYPES = 100, 1000, 100
_send = msgspec.json.Decoder(EventsGiven)


class Events:
    def __init__(self, api: Api, sessions: Sessions, sending: Sending, unheard: Unheard) -> None:
        self._api, self._sessions, self._sending, self._unheard = api, sessions, sending, unheard

    def routes(self) -> Mapping[str, Methods]:
        return {
            "/v1/sessions/{session}/events": {"GET": self.list, "POST": self.send},
            "/v1/sessions/{session}/events/stream": {"GET": self.stream},
        }

    @needs("use")
    async def send(self, scope: Scope, receive: Receive) -> ReplyCall:
        given = await body_of(scope, receive, _send)
        record = await self._sessions.open_record(scope)
        info = await self._api.sessions.get(record.id)
        if status_of(info) == "terminated":
            raise Invalid(f"session {record.id!r} is terminated: it takes no events")
        await self._sending.check(given.events)
        self._unheard.sent(record.id, info.head)
        order = SendOrder(digest_of("events", record.id, given), again=repeated(scope))
        try:
            data, since = await self._sending.send(record.id, given.events, order)
        except Conflict as error:
            if error.code in ("session_stopped", "session_error"):
                raise Invalid(f"session {record.id!r} is terminated: it takes no events") from None
            raise
        if since is not None:
            self._unheard.sent(record.id, since)
        reply: ReplyCall = answer({"data": data})
        for one in data:
            reply = self._sending.answered.reply(one["id"], reply)
        return reply

    @needs("read")
    async def list(self, scope: Scope, receive: Receive) -> ReplyCall:
        query = Query(scope, ("limit", "page", "order", "types", *TIMES))
        record = await self._sessions.record(scope)
        return await event_page(self._api, record.id, query)

    @needs("read")
    async def stream(self, scope: Scope, receive: Receive) -> ReplyCall:
        query = Query(scope, ("event_deltas",))
        record = await self._sessions.record(scope)
        return await open_stream(self._api, record.id, query, self._unheard)


async def event_page(api: Api, session: str, query: Query) -> ReplyCall:
    """Answer with a page of a session's events."""
    limit, types = query.number("limit", _PAGE, _MOST), set(query.many("types"))
    if len(types) > _TYPES:
        raise Invalid(f"types: at most {_TYPES}")
    times = query.times("created_at")
    fits = _fitting(types, times)
    order, _, place = opened(query.text("page")).partition(":") if query.text("page") else ("", "", "")
    order = query.one_of("order", "asc", "desc") or order or "asc"
    at = EventPlace.read(place) if place else None
    if order == "asc":
        page = await oldest_first(api.sessions, session, fits, at or EventPlace(), limit)
    else:
        page = await newest_first(api.sessions, session, fits, at, limit)
    await with_inputs(api.sessions, page.found)
    return answer({"data": page.found, "next_page": page.next and sealed(f"{order}:{page.next}")})


def _fitting(types: set[str], times: Callable[[float], bool]) -> Callable[[Shown], bool]:
    def fits(one: dict[str, Any]) -> bool:
        return (not types or one["type"] in types) and times(seconds_of(one["processed_at"], "processed_at"))

    return fits


async def open_stream(api: Api, session: str, query: Query, unheard: Unheard) -> ReplyCall:
    wanted = query.many("event_deltas")
    if unknown := set(wanted) - {MESSAGES, THOUGHTS}:
        raise Invalid(f"event_deltas: {MESSAGES} and {THOUGHTS}, not {sorted(unknown)[0][:40]!r}")
    check_room(api)
    head = (await api.sessions.get(session)).head
    stream = SessionStream(api, session, unheard.listen(session, head), wanted)

    async def run(scope: Scope, receive: Receive, send: Any) -> None:
        try:
            await stream(scope, receive, send)
        finally:
            unheard.left(session)

    return run
