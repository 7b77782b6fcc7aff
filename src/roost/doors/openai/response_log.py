"""Find a response in the log of its session. Its id names the session, the inbox item and, behind results of calls of
the client, the model call that asked for them; so nothing else need be kept."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple, cast

from roost.doors.digests import call_id, said_in
from roost.doors.failures import of_turn
from roost.doors.openai.response_writer import End, ResponseWriter
from roost.doors.turn_reader import CallsWait, Piece, Read, TurnEnd, TurnReader
from roost.errors import NotFound
from roost.features.client_tools.events import ClientCalled
from roost.ids import is_id
from roost.kernel.turn_watch import Halted, find_turn
from roost.log import events as ev
from roost.log.content import ToolCall, UserPart
from roost.log.frames import Frame
from roost.log.inputs import MessageInput
from roost.log.protocols import Record
from roost.server.app_state import Api
from roost.server.problems import session_halted

REASONS = {"length": "max_output_tokens", "refusal": "content_filter"}
"""Why a response is incomplete, by the reason for which the model stopped."""
_ID = re.compile(r"resp_(.+)_([0-9]{1,18})(?:\.([0-9]{1,18}))?")
_PAGE = 500
_RECEIVED = b'{"type":"input.received"'
_READ = tuple(b'{"type":"%b"' % kind for kind in (b"model.completed", b"client.called", b"emitted", b"turn.completed"))


class Place(NamedTuple):
    """What a response's id names. step: 0 for the first response of a turn."""

    session: str
    item: int
    step: int

    @property
    def id(self) -> str:
        return f"resp_{self.session}_{self.item}" + (f".{self.step}" if self.step else "")


class Found(NamedTuple):
    """A response in the log. start: the position before its events; None while its message waits. created: wall time.
    parts: of its message. details: what else it shows of its request."""

    place: Place
    agent: str
    start: int | None
    created: float
    parts: Sequence[UserPart]
    details: dict[str, Any]


def place_of(id: str) -> Place:
    """Return what an id names. Raises `NotFound`."""
    match = _ID.fullmatch(id)
    if match is None or not is_id(match[1]):
        raise unknown(id)
    return Place(match[1], int(match[2]), int(match[3] or 0))


def unknown(id: str) -> NotFound:
    return NotFound(f"there is no response {id[:200]!r} here", code="response_not_found")


class ResponseLog:
    def __init__(self, name: str, api: Api) -> None:
        self._name, self._api = name, api
        self._sessions = api.sessions
        self._sources = name, f"{name}:named"

    async def find(self, place: Place) -> Found:
        """Find a response. Raises `NotFound`."""
        try:
            info = await self._sessions.get(place.session)
            start = await find_turn(self._sessions, place.session, place.item)
            if start is None:
                if (queued := await self._queued(place, info.agent)) is not None:
                    return queued
                start = await find_turn(self._sessions, place.session, place.item)  # it may have begun meanwhile
            if start is not None:
                return await self._begun(place, info.agent, start)
        except NotFound:
            pass
        raise unknown(place.id)

    async def _queued(self, place: Place, agent: str) -> Found | None:
        for item in await self._api.runtime.node.tenants.inboxes.pending(place.session):
            if item.id == place.item and isinstance(item.input, MessageInput) and not place.step:
                if not self._own(item.input.source):
                    break
                return Found(place, agent, None, item.accepted_at, item.input.parts, item.input.note or {})
        return None

    async def _begun(self, place: Place, agent: str, start: int) -> Found:
        received: ev.InputReceived | None = None
        async for record in self.records(place.session, start):
            if not record.body.startswith(_RECEIVED):
                continue
            event = record.event
            if isinstance(event, ev.InputReceived) and event.input == place.item:
                received, start = event, start if place.step == 0 else record.seq
                break
        if received is None or not self._own(received.source):
            raise unknown(place.id)
        if place.step:
            return await self._resumed(place, agent, start, received)
        return Found(place, agent, start, received.at, self.said(received), received.note or {})

    async def _resumed(self, place: Place, agent: str, after: int, received: ev.InputReceived) -> Found:
        """Find the part of a turn behind results of calls."""
        begun, previous, step = 0, 0, 0
        details = dict[str, Any]()
        async for record in self.records(place.session, after):
            if not record.body.startswith(_READ):
                continue
            event = record.event
            if isinstance(event, ev.TurnCompleted):
                break
            if isinstance(event, ev.ModelCompleted):
                step = event.step
                begun = record.seq if step == place.step else begun
            elif isinstance(event, ClientCalled):
                previous = step if step < place.step else previous
            elif isinstance(event, ev.Emitted) and event.name == f"{self._name}.request":
                given = _details(event.data)
                details = given if given.get("results") == f"{place.item}.{place.step}" else details
        if not begun:
            raise unknown(place.id)
        details = {"previous_response_id": place._replace(step=previous).id, **details}
        return Found(place, agent, begun, received.at, (), details)

    def _own(self, source: str | None) -> bool:
        """Whether a message came through this door."""
        return (source or "").partition("#")[0] in self._sources

    def said(self, event: ev.InputReceived) -> Sequence[UserPart]:
        """Return what the user said, without what the door told the agent before it."""
        found = (said_in(event, name) for name in self._sources)
        return next((said.parts for said in found if said is not None), event.parts)

    async def read(self, found: Found, writer: ResponseWriter) -> End:
        """Write what the log has of a response. Raises `NotFound`."""
        place = found.place
        if found.start is None:
            return End("queued")
        reader = TurnReader(self._sessions, place.session, place.item, resumed=place.step > 0, separator="")
        async for record in self.records(place.session, found.start):
            end = write(writer, place, await reader.read([Frame(record.seq, record.body)]))
            if end is not None:
                return end
        return End("in_progress")

    async def outputs(self, found: Found) -> list[ev.ToolCompleted]:
        """Return the outcomes of the client's calls, behind which a response begins."""
        called, events = set[str](), list[ev.ToolCompleted]()
        async for record in self.records(found.place.session, found.start or 0):
            event = record.event
            if isinstance(event, ClientCalled):
                called.add(event.call)
            elif isinstance(event, ev.ToolCompleted) and event.call in called:
                events.append(event)
            elif isinstance(event, ev.ModelCompleted | ev.TurnCompleted):
                break
        return events

    async def alone(self, place: Place) -> bool:
        """Whether this door made the session of a response for its message, and the session was told nothing else.
        Raises `NotFound`."""
        if self._name not in (await self._sessions.get(place.session)).labels:
            return False
        pending = [item.id for item in await self._api.runtime.node.tenants.inboxes.pending(place.session)]
        events = [one.event async for one in self.records(place.session) if one.body.startswith(_RECEIVED)]
        items = [*(event.input for event in events if isinstance(event, ev.InputReceived)), *pending]
        return items == [place.item] and not place.session.startswith("conv_")

    async def records(self, session: str, after: int = 0) -> AsyncIterator[Record]:
        """Yield the events of a session. Raises `NotFound`."""
        while page := await self._sessions.history(session, after=after, limit=_PAGE):
            for record in page:
                yield record
            after = page[-1].seq


def _details(data: object) -> dict[str, Any]:
    """Return what a request for results noted; empty for what no door wrote."""
    if not isinstance(data, dict):
        return {}
    given = cast("dict[str, Any]", data)
    return given if isinstance(given.get("custom", []), list) else {}


def write(writer: ResponseWriter, place: Place, batch: Sequence[Read]) -> End | None:
    """Write pieces of a turn, and the end of the response if it follows them. Returns this end."""
    for one in batch:
        if isinstance(one, Piece):
            writer.say(one.kind, one.text, one.step)
            continue
        if isinstance(one, CallsWait):
            writer.close("commentary")
            for call in one.calls:
                writer.call(ToolCall(call_id(place.session, place.item, call.call), call.name, call.arguments))
        end = _end_of(place, one)
        writer.end(end)
        return end
    return None


def _end_of(place: Place, last: TurnEnd | CallsWait | Halted) -> End:
    if isinstance(last, CallsWait):
        return End("completed", last.usage, at=last.at)
    if isinstance(last, Halted):
        return End("failed", problem=session_halted(place.session, last.state, last.reason))
    if last.outcome == "cancelled":
        return End("cancelled", last.usage, at=last.at)
    reason = "max_output_tokens" if last.outcome == "limit" else REASONS.get(last.stop)
    if last.outcome == "failed" or (last.outcome == "limit" and not last.answer):
        return End("failed", last.usage, of_turn(last.outcome, last.reason), at=last.at)
    return End("completed" if reason is None else "incomplete", last.usage, reason=reason, at=last.at)
