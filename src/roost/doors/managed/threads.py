"""The threads of a session: itself, and the sessions of the agents that it has called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.types import Receive, Scope

from roost.agent.definition import decode_spec
from roost.doors.managed.agent_shapes import file_agent, session_agent
from roost.doors.managed.events import event_page, open_stream
from roost.doors.managed.requests import Query, answer, cursor_of, listed, stamp
from roost.doors.managed.session_records import SessionRecord, status_of, usage_view
from roost.doors.managed.sessions import Sessions
from roost.doors.managed.unheard import Unheard
from roost.errors import Invalid, NotFound
from roost.log.records import Page
from roost.log.session_info import SessionInfo
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.responses import ReplyCall

_STATES = ("running", "idle", "rescheduling", "terminated")


class Threads:
    def __init__(self, api: Api, sessions: Sessions, unheard: Unheard) -> None:
        self._api, self._sessions, self._unheard = api, sessions, unheard

    def routes(self) -> Mapping[str, Methods]:
        one = "/v1/sessions/{session}/threads/{thread}"
        return {
            "/v1/sessions/{session}/threads": {"GET": self.list},
            one: {"GET": self.get},
            f"{one}/archive": {"POST": self.archive},
            f"{one}/events": {"GET": self.events},
            f"{one}/stream": {"GET": self.stream},
        }

    @needs("read")
    async def list(self, scope: Scope, receive: Receive) -> ReplyCall:
        query = Query(scope, ("limit", "page", "statuses"))
        limit, cursor, statuses = query.number("limit", 1000, 1000), cursor_of(query), query.many("statuses")
        if unknown := set(statuses) - set(_STATES):
            raise Invalid(f"statuses: {', '.join(_STATES)}, not {sorted(unknown)[0][:40]!r}")
        record = await self._sessions.record(scope)
        threads = (await self._api.runtime.delegation.tree(record.id)).sessions
        ids = [one.id for one in threads]
        start = ids.index(cursor.id) + 1 if cursor.id in ids else 0
        fitting = [one for one in threads[start:] if not statuses or status_of(one) in statuses]
        page = Page(fitting[:limit], False, len(fitting) > limit)
        shown = [await self._view(record, one) for one in page.found]
        return listed(shown, page, lambda one: one.id)

    @needs("read")
    async def get(self, scope: Scope, receive: Receive) -> ReplyCall:
        record = await self._sessions.record(scope)
        return answer(await self._view(record, await self._thread(record, scope)))

    @needs("use")
    async def archive(self, scope: Scope, receive: Receive) -> ReplyCall:
        await self._thread(await self._sessions.record(scope), scope)
        raise Invalid("a thread ends with its task; archive the session")

    @needs("read")
    async def events(self, scope: Scope, receive: Receive) -> ReplyCall:
        query = Query(scope, ("limit", "page"))
        thread = await self._thread(await self._sessions.record(scope), scope)
        return await event_page(self._api, thread.id, query)

    @needs("read")
    async def stream(self, scope: Scope, receive: Receive) -> ReplyCall:
        query = Query(scope, ("event_deltas",))
        thread = await self._thread(await self._sessions.record(scope), scope)
        return await open_stream(self._api, thread.id, query, self._unheard)

    async def _thread(self, record: SessionRecord, scope: Scope) -> SessionInfo:
        """Return the session that a thread's id names. Raises `NotFound`."""
        id = scope["path_params"]["thread"]
        threads = (await self._api.runtime.delegation.tree(record.id)).sessions
        thread = next((one for one in threads if one.id == id), None)
        if thread is None:
            raise NotFound(f"session {record.id!r} has no thread {id[:128]!r}")
        return thread

    async def _view(self, record: SessionRecord, info: SessionInfo) -> dict[str, Any]:
        _, state = await self._api.sessions.state(info.id)
        own = info.id == record.id
        shown = record.shown if own else file_agent(decode_spec(state.spec))
        return {
            "type": "session_thread",
            "id": info.id,
            "session_id": record.id,
            "parent_thread_id": None if own else info.parent,
            "agent": session_agent(info.agent, record.version if own else 1, shown),
            "status": status_of(info),
            "created_at": stamp(info.created_at),
            "updated_at": stamp(info.updated_at),
            "archived_at": None,
            "stats": {"active_seconds": round(state.seconds, 3)},
            "usage": usage_view(state),
        }
