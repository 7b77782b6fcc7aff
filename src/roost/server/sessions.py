"""Sessions: create, find, inspect, delete, control, and their logs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, cast

import msgspec

from roost.api.session_contents import Entry, EventPage, Transcript
from roost.api.sessions import SessionPage, SessionsApi
from roost.authority import current, owned_labels
from roost.errors import Busy, Conflict, Forbidden, Invalid
from roost.log.frames import Frame
from roost.log.protocols import SessionQuery
from roost.log.session_info import ControlAction, SessionInfo, SessionState
from roost.log.session_views import SessionView
from roost.log.tail import Follower
from roost.server.app_state import Api
from roost.server.responses import ReplyCall
from roost.server.row_handler import Call
from roost.server.stream import PING_SECONDS, EventStream, Watch

if TYPE_CHECKING:
    from roost.agent.definition import AgentSpec

STREAMS = 1000
"""Most streams open at once. A reader that reads nothing holds up to a megabyte until it is disconnected."""
_FOR_HOME = 100
"""Streams that accounts leave to the home."""


class SessionService(SessionsApi):
    def __init__(self, api: Api) -> None:
        self._api = api
        self._sessions = api.sessions

    async def create(
        self,
        agent: str,
        *,
        model: str | None = None,
        definition: AgentSpec | None = None,
        id: str | None = None,
        workspace: str | None = None,
        title: str | None = None,
        labels: dict[str, str] | None = None,
        key: str | None = None,
    ) -> SessionInfo:
        _demand_own(model=model, elsewhere=definition is not None or workspace is not None)
        if definition is None:
            chosen = await self._sessions.named(agent, model=model)
        else:
            chosen = self._sessions.variant(agent, model=model, definition=definition)
        info = await self._sessions.create(chosen, id=id, workspace=workspace, title=title, labels=labels, key=key)
        # A change of the agent on the node since then is no difference.
        version = info.version if model is None and definition is None else chosen.spec.version
        same_id = info.id if id is None else current().session_id(id)
        wanted = (agent, version, same_id, workspace, title, owned_labels(labels or {}))
        if key is not None and wanted != (info.agent, info.version, info.id, info.workspace, info.title, info.labels):
            raise Conflict(f"the key {key!r} made another session, {info.id!r}", code="idempotency_mismatch")
        return info

    async def find(
        self,
        *,
        agent: str | None = None,
        state: SessionState | None = None,
        parent: str | None = None,
        label: str | None = None,
        before: str | None = None,
        limit: int = 50,
        turns: bool = False,
    ) -> SessionPage:
        key, _, value = (label or "").partition(":")
        if key == "user":
            value = owned_labels({key: value})[key]
        query = SessionQuery(
            agent=agent,
            state=state,
            parent=None if parent is None else current().session_id(parent),
            label=(key, value) if label else None,
            before=before,
            limit=limit + 1,
        )
        found = await self._sessions.find(query, turns=turns)
        page = found[:limit]
        return SessionPage(sessions=page, next=page[-1].id if len(found) > limit else None)

    async def inspect(self, session: str) -> SessionView:
        return await self._sessions.inspect(session)

    async def delete(self, session: str) -> None:
        await self._sessions.delete(session)

    async def messages(self, session: str) -> Transcript:
        return Transcript(messages=await self._sessions.transcript(session))

    async def events(self, session: str, *, after: int = 0, limit: int = 500) -> EventPage[msgspec.Raw]:
        head = await log_end(self._api, session, after)
        records = await self._sessions.history(session, after=after, limit=limit)
        entries = [Entry(seq=record.seq, event=msgspec.Raw(record.body)) for record in records]
        return EventPage(events=entries, head=max(head, records[-1].seq if records else 0))

    async def stream_events(self, call: Call) -> ReplyCall:
        after = _position(call.header(b"last-event-id"))
        after = call.given["after"] if after is None else after
        await log_end(self._api, call.session, after)
        check_room(self._api)
        return open_stream(self._api, call.session, after=after, deltas=call.deltas)

    async def control(
        self,
        session: str,
        action: ControlAction,
        *,
        input: int | None = None,
        key: str | None = None,
        wait: float | None = None,
    ) -> SessionInfo:
        return await self._sessions.control(session, action, input=input, key=key, wait=wait)


def _demand_own(*, model: str | None, elsewhere: bool) -> None:
    """Check what an account chooses for a new session. elsewhere: it is to work in a folder of this machine, or by a
    definition of the caller. Raises `Forbidden`."""
    who = current()
    if elsewhere and who.confined:
        raise Forbidden(
            "an account's sessions are of agents that are known here, in folders of their own: `roost run --private`"
        )
    if model is not None:
        who.demand_model(model)


async def log_end(api: Api, session: str, after: int) -> int:
    """Return the position of the log's end. Raises `Conflict` when `after` is behind it."""
    head = (await api.sessions.get(session)).head
    if after > head:
        raise Conflict(f"the log ends at {head}; there is nothing after {after} yet", code="ahead_of_log")
    return head


def check_room(api: Api) -> None:
    """Refuse a stream when too many are open; call it before any other work. Raises `Busy`."""
    most = STREAMS - _FOR_HOME if current().confined else STREAMS
    if len(api.streams) >= most:
        raise Busy(f"{most} streams are open; close some, or try again later", code="too_many_streams")


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
