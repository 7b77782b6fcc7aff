"""Agents and sessions as resources: `roost://agents/NAME`, `roost://sessions/ID` and what is below it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from roost.doors.mcp.catalog import Offer, Page, ResourceInfo, TemplateInfo
from roost.doors.mcp.wire import Json
from roost.errors import TooLarge
from roost.ids import is_id
from roost.log.session_info import SessionInfo
from roost.server.app_state import Api
from roost.server.sessions import SessionService

_PAGE = 50
_EVENTS = 1000
_TRANSCRIPT_BYTES = 8 * 1024 * 1024
_JSON, _MARKDOWN = "application/json", "text/markdown"
_AGENT = re.compile(r"roost://agents/([^/?#]{1,400})")
_SESSION = re.compile(
    r"roost://sessions/([^/?#]{1,400})(?:/(transcript|events|checkpoints))?(?:\?after=([0-9]{1,15}))?"
)
_QUIET_SECONDS = 0.5
"""Changes of a resource within this time are told as one."""


class Resources(Offer):
    """Definitions of agents, and sessions: their state, transcript and log."""

    def __init__(self, api: Api) -> None:
        self._api, self._sessions = api, api.sessions
        self._service = SessionService(api)

    async def resources(self, cursor: str | None) -> Page:
        page = await self._service.find(before=cursor, limit=_PAGE)
        agents = [] if cursor is not None else [_agent(one.name, one.spec.description) for one in self._agents()]
        return Page([*agents, *map(_session, page.sessions)], page.next)

    def _agents(self) -> Sequence[Any]:
        return self._api.runtime.agents.all()

    def templates(self) -> Sequence[TemplateInfo]:
        return _TEMPLATES

    async def read(self, uri: str) -> Sequence[Json] | None:
        if (found := _AGENT.fullmatch(uri)) is not None:
            agent = self._api.runtime.agents.find(unquote(found[1]))
            return None if agent is None else [_contents(uri, _JSON, msgspec.json.encode(agent.spec))]
        if (found := _SESSION.fullmatch(uri)) is None or not is_id(session := unquote(found[1])):
            return None
        match found[2]:
            case "transcript":
                return [_contents(uri, _MARKDOWN, await self._transcript(session))]
            case "events":
                page = await self._service.events(session, after=int(found[3] or 0), limit=_EVENTS)
                return [_contents(uri, _JSON, msgspec.json.encode(page))]
            case "checkpoints":
                made = await self._api.runtime.checkpoints.list(session)
                return [_contents(uri, _JSON, msgspec.json.encode(made))]
            case _:
                return [_contents(uri, _JSON, msgspec.json.encode(await self._sessions.inspect(session)))]

    async def _transcript(self, session: str) -> bytes:
        exported = await self._api.runtime.exchange.export(session, format="transcript")
        try:
            if exported.size > _TRANSCRIPT_BYTES:
                raise TooLarge(
                    f"the transcript has more than {_TRANSCRIPT_BYTES} bytes: session_read returns its newest messages,"
                    " and `roost export --format transcript` all of it"
                )
            return b"".join([chunk async for chunk in exported.chunks])
        finally:
            exported.done()

    def watch(self, uri: str) -> AsyncIterator[None] | None:
        found = _SESSION.fullmatch(uri)
        return None if found is None or not is_id(unquote(found[1])) else self._changes(unquote(found[1]))

    async def _changes(self, session: str) -> AsyncIterator[None]:
        head = (await self._sessions.get(session)).head
        news = asyncio.Event()

        async def follow() -> None:
            async for _ in self._sessions.tail(session, after=head):
                news.set()

        following = asyncio.create_task(follow())
        try:
            while True:
                waiting = asyncio.create_task(news.wait())
                await asyncio.wait([waiting, following], return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if not news.is_set():
                    return  # the session was deleted
                news.clear()
                yield
                await asyncio.sleep(_QUIET_SECONDS)
        finally:
            following.cancel()
            await asyncio.wait([following])

    async def complete(self, where: str, argument: str, value: str) -> Sequence[str] | None:
        if all(where != one.uri_template for one in _TEMPLATES):
            return None
        if argument == "agent":
            return [one.name for one in self._agents() if one.name.startswith(value)]
        if argument == "session":
            page = await self._service.find(limit=200)
            return [info.id for info in page.sessions if info.id.startswith(value)]
        return []


def _template(path: str, name: str, description: str, kind: str = _JSON) -> TemplateInfo:
    return TemplateInfo(name=name, description=description, uri_template=f"roost://{path}", mime_type=kind)


_TEMPLATES = (
    _template("agents/{agent}", "agent", "The definition of an agent."),
    _template("sessions/{session}", "session", "The state of a session, and the calls that wait in it."),
    _template("sessions/{session}/transcript", "transcript", "What was said in a session.", _MARKDOWN),
    _template("sessions/{session}/events", "events", "The log of a session: its first 1,000 events."),
    _template("sessions/{session}/events?after={after}", "more events", "The log of a session after an event."),
    _template("sessions/{session}/checkpoints", "checkpoints", "The checkpoints of a session."),
)


def _agent(name: str, description: str) -> ResourceInfo:
    about = description.strip() or "An agent's definition."
    return ResourceInfo(name=name, description=about, uri=f"roost://agents/{quote(name)}", mime_type=_JSON)


def _session(info: SessionInfo) -> ResourceInfo:
    return ResourceInfo(
        name=info.id,
        title=info.title,
        description=f"The transcript of a session of the agent {info.agent}.",
        uri=f"roost://sessions/{quote(info.id)}/transcript",
        mime_type=_MARKDOWN,
    )


def _contents(uri: str, kind: str, body: bytes) -> Json:
    return {"uri": uri, "mimeType": kind, "text": body.decode()}
