"""Subagents: the sessions to which a session has delegated tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from starlette.types import Receive, Scope

from roost.doors.openai_agents.context import Context, missing
from roost.doors.openai_agents.history import History
from roost.doors.openai_agents.history_routes import HistoryRoutes
from roost.doors.openai_agents.items import arguments_of
from roost.doors.openai_agents.log_reader import Names
from roost.doors.openai_agents.paging import Page, listed
from roost.doors.openai_agents.records import SessionRecord
from roost.doors.openai_agents.session_store import SessionStore
from roost.kernel.lineage import children_of
from roost.log.session_info import SessionInfo
from roost.server.door import Methods, needs
from roost.server.responses import ReplyCall, json

_ALL = "/v1/agents/sessions/{session}/subagents"
_ONE = f"{_ALL}/{{subagent}}"


class Subagents(HistoryRoutes):
    def __init__(self, context: Context, store: SessionStore) -> None:
        self._context, self._store = context, store

    def routes(self) -> Mapping[str, Methods]:
        return {
            _ALL: {"GET": self.list},
            _ONE: {"GET": self.retrieve},
            **self.history_routes(_ONE),
        }

    @needs("read")
    async def list(self, scope: Scope, receive: Receive) -> ReplyCall:
        record, page = await self._store.find(scope), Page.of(scope)
        found = sorted(await children_of(self._context.runtime.node.tenants, record.id), key=lambda one: one.id)
        if page.newest:
            found.reverse()
        if page.after:
            places = [at for at, one in enumerate(found) if one.id == page.after]
            if not places:
                raise missing("subagent", page.after)
            found = found[places[0] + 1 :]
        data = [await self._shown(record, one) for one in found[: page.limit]]
        return json(200, listed(data, more=len(found) > page.limit))

    @needs("read")
    async def retrieve(self, scope: Scope, receive: Receive) -> ReplyCall:
        record = await self._store.find(scope)
        return json(200, await self._shown(record, await self._child(record, scope)))

    async def history(self, scope: Scope) -> History:
        record = await self._store.find(scope)
        child = await self._child(record, scope)
        return History(self._context.sessions, Names(child.id, record.id, child.id))

    async def _child(self, record: SessionRecord, scope: Scope) -> SessionInfo:
        id = scope["path_params"]["subagent"]
        for one in await children_of(self._context.runtime.node.tenants, record.id):
            if one.id == id:
                return one
        raise missing("subagent", id)

    async def _shown(self, record: SessionRecord, info: SessionInfo) -> dict[str, Any]:
        closed = info.phase == "idle" and not info.pending
        shown = subagent(record, info.id, int(info.created_at), None, closed=closed)
        if closed:
            shown["closed_at"] = int(info.updated_at)
        return {**shown, "name": info.title}


def subagent(record: SessionRecord, id: str, at: int, prompt: str | None, *, closed: bool = False) -> dict[str, Any]:
    """Return the resource. at: when it was opened or closed. prompt: the arguments of the call that opened it."""
    given = None if prompt is None else arguments_of(prompt)
    text = cast("dict[str, Any]", given).get("prompt") if isinstance(given, dict) else None
    return {
        "id": id,
        "object": "agent.session.subagent",
        "session_id": record.id,
        "parent_agent_id": record.agent_id,
        "name": None,
        "instructions": None if text is None else [{"type": "output_text", "text": str(text)}],
        "opened_at": at,
        "closed_at": at if closed else None,
        "status": "closed" if closed else "active",
    }
