"""Agents and their versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.types import Receive, Scope

from roost.agent.definition import Agent, AgentSpec
from roost.authority import current
from roost.doors.managed.agent_shapes import (
    AgentGiven,
    AgentPatch,
    agent_view,
    file_agent,
    patched_agent,
    session_agent,
    shown_agent,
    spec_of,
    tools_of,
)
from roost.doors.managed.multiagent import MemberGiven, MultiagentGiven, coordinating, entries_of, shown_roster
from roost.doors.managed.owners import account
from roost.doors.managed.requests import TIMES, Query, answer, body_of, cursor_of, listed, stamp
from roost.doors.managed.skills import SkillGiven, Skills
from roost.doors.models import model_of
from roost.errors import Conflict, Forbidden, Invalid, NotFound
from roost.features.definitions.definitions import Definition, Definitions
from roost.ids import new_id
from roost.log.records import Page
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.responses import ReplyCall
from roost.validated import WrongValue

_create, _change = msgspec.json.Decoder(AgentGiven), msgspec.json.Decoder(AgentPatch)
_PAGE = 100


class Agents:
    def __init__(self, name: str, api: Api, skills: Skills) -> None:
        self._door, self._api, self._skills = name, api, skills
        self.definitions = Definitions(api.runtime.node.store.documents)

    def routes(self) -> Mapping[str, Methods]:
        return {
            "/v1/agents": {"GET": self.list, "POST": self.create},
            "/v1/agents/{agent}": {"GET": self.get, "POST": self.change},
            "/v1/agents/{agent}/archive": {"POST": self.archive},
            "/v1/agents/{agent}/versions": {"GET": self.versions},
        }

    @needs("use")
    async def create(self, scope: Scope, receive: Receive) -> ReplyCall:
        given, name = await body_of(scope, receive, _create), new_id("agent")
        demand_agent(name)
        skills = {"skills": await self._skills.shown(given.skills)}
        shown = {**shown_agent(given), **skills, **await self._roster(given.multiagent, name)}
        spec = await self.spec(name, shown, account())
        made = await self.definitions.make(spec, door=self._door, shown=shown, owner=account() or "")
        return answer(agent_view(made))

    @needs("use")
    async def change(self, scope: Scope, receive: Receive) -> ReplyCall:
        patch = await body_of(scope, receive, _change)
        name, owner = scope["path_params"]["agent"], account()
        before = await self._shown(name)
        expected = before.version if patch.version is msgspec.UNSET else patch.version
        more = {} if patch.multiagent is msgspec.UNSET else await self._roster(patch.multiagent, name)
        if patch.skills is not msgspec.UNSET:
            more["skills"] = await self._skills.shown(patch.skills)
        shown = {**patched_agent(before.shown, patch), **more}
        spec, members = await self.spec(name, shown, owner), await self.members(shown, owner)

        def edit(newest: Definition) -> tuple[AgentSpec, dict[str, Any]]:
            shown = {**patched_agent(newest.shown, patch), **more}
            return coordinating(spec_of(name, shown, spec.model or "default"), shown.get("multiagent"), members), shown

        try:
            made = await self.definitions.change(name, edit, version=expected, owner=owner)
        except Conflict as error:
            if error.code == "agent_archived":
                raise Invalid(f"{error.message}: it takes no changes") from None
            raise
        return answer(agent_view(made))

    @needs("read")
    async def get(self, scope: Scope, receive: Receive) -> ReplyCall:
        query = Query(scope, ("version",))
        version = query.number("version", 0, 10**8) if query.text("version") else None
        name = scope["path_params"]["agent"]
        try:
            return answer(agent_view(await self._shown(name, version)))
        except NotFound:
            if (known := self._file_agent(name)) is None or version not in (None, 1):
                raise
        shown = file_agent(known.spec)
        since = stamp(0.0)
        times: dict[str, Any] = {"metadata": {}, "created_at": since, "updated_at": since, "archived_at": None}
        return answer({**session_agent(name, 1, shown), **times})

    @needs("read")
    async def list(self, scope: Scope, receive: Receive) -> ReplyCall:
        query = Query(scope, ("limit", "page", "include_archived", *TIMES))
        limit, cursor, archived = query.number("limit", 20, 100), cursor_of(query), query.flag("include_archived")
        times, owner = query.times("created_at"), account()
        found: list[Definition] = []
        after = cursor.id
        while len(found) <= limit:
            read = await self.definitions.find(door=self._door, owner=owner, after=after, limit=_PAGE)
            if not read:
                break
            shown = [one for one in read if (archived or one.archived is None) and current().may_use(one.name)]
            found += [one for one in shown if times(one.created)]
            after = read[-1].name
        page = Page(found[:limit], False, len(found) > limit)
        return listed([agent_view(one) for one in page.found], page, lambda one: one.name)

    @needs("use")
    async def archive(self, scope: Scope, receive: Receive) -> ReplyCall:
        name = scope["path_params"]["agent"]
        await self._shown(name)
        return answer(agent_view(await self.definitions.archive(name, owner=account())))

    @needs("read")
    async def versions(self, scope: Scope, receive: Receive) -> ReplyCall:
        query = Query(scope, ("limit", "page"))
        limit, cursor, name = query.number("limit", 20, 100), cursor_of(query), scope["path_params"]["agent"]
        await self._shown(name)
        if cursor.id and not (cursor.id.isascii() and cursor.id.isdigit() and len(cursor.id) < 10):
            raise Invalid("page: give the next_page of an earlier answer")
        before = int(cursor.id) if cursor.id else None
        found = await self.definitions.versions(name, before=before, limit=limit + 1)
        page = Page(found[:limit], False, len(found) > limit)
        return listed([agent_view(one) for one in page.found], page, lambda one: str(one.version))

    async def spec(self, name: str, shown: dict[str, Any], owner: str | None) -> AgentSpec:
        """Return Roost's definition of an agent. Raises `NotFound` for a model that nobody knows, and `Invalid`."""
        model, members = await model_of(self._api, shown["model"]["id"]), await self.members(shown, owner)
        try:
            return Agent.of(coordinating(spec_of(name, shown, model.name), shown.get("multiagent"), members)).spec
        except WrongValue as error:
            raise Invalid(str(error)) from None

    async def skills(self, given: list[SkillGiven]) -> list[dict[str, Any]]:
        """Return what is kept of skills. Raises `Invalid` and `NotFound`."""
        return await self._skills.shown(given)

    async def _roster(self, given: MultiagentGiven | None, name: str) -> dict[str, Any]:
        """Return what is kept of the agents that an agent calls: each in the version that it has now. Raises `Invalid`
        and `NotFound`."""
        if given is None:
            return {"multiagent": None}
        entries = [None if one is None or one.id == name else one for one in entries_of(given)]
        return {"multiagent": shown_roster([None if one is None else await self._member(one) for one in entries])}

    async def _member(self, given: MemberGiven) -> tuple[str, int]:
        found = await self._shown(given.id, given.version)
        if found.archived is not None:
            raise Invalid(f"multiagent: agent {given.id!r} is archived")
        if found.shown.get("multiagent") is not None:
            raise Invalid(f"multiagent: agent {given.id!r} calls others itself, so no agent may call it")
        if tools_of(found.shown).custom:
            raise Invalid(f"multiagent: agent {given.id!r} has custom tools, which only the agent of a session may use")
        return found.name, found.version

    async def roster(self, shown: dict[str, Any], owner: str | None) -> list[Definition]:
        """Return the agents that an agent calls, without itself, in their versions. Raises `NotFound`."""
        multiagent: dict[str, Any] = shown.get("multiagent") or {}
        agents: list[dict[str, Any]] = multiagent.get("agents", [])
        named = [one for one in agents if one["type"] == "agent"]
        return [await self._defined(one["id"], version=one["version"], owner=owner) for one in named]

    async def members(self, shown: dict[str, Any], owner: str | None) -> list[AgentSpec]:
        """Return the definitions of `roster`."""
        return [await self.spec(one.name, one.shown, owner) for one in await self.roster(shown, owner)]

    async def _shown(self, name: str, version: int | None = None) -> Definition:
        """Return an agent that the request may see and change. Raises `NotFound`."""
        if not current().may_use(name):
            raise NotFound(f"there is no agent {name[:128]!r}")
        return await self._defined(name, version=version, owner=account())

    async def _defined(self, name: str, *, owner: str | None, version: int | None = None) -> Definition:
        """Return an agent that was defined through this door. Raises `NotFound`."""
        found = await self.definitions.get(name, version=version, owner=owner)
        if found.door != self._door:
            raise NotFound(f"agent {name!r} was defined through another API")
        return found

    def _file_agent(self, name: str) -> Agent | None:
        """Return an agent that this node knows from a file, if the request may use it."""
        return self._api.runtime.agents.find(name) if current().may_use(name) else None

    async def of_session(
        self, name: str, version: int | None, owner: str | None
    ) -> tuple[str, int, dict[str, Any], Agent | None]:
        """Return the name, the version and what is shown of an agent for a new session, and the agent itself if this
        node knows it from a file. Raises `NotFound`, `Forbidden`, and `Invalid` for an archived one."""
        try:
            found = await self._defined(name, version=version, owner=owner)
        except NotFound:
            known = self._file_agent(name)
            if known is None or version not in (None, 1):
                raise
            return name, 1, file_agent(known.spec), known
        demand_agent(name)
        if found.archived is not None:
            raise Invalid(f"agent {name!r} is archived: it takes no new sessions")
        return found.name, found.version, found.shown, None


def demand_agent(name: str) -> None:
    """Raise `Forbidden` unless the request may use an agent that was defined through this door."""
    if not current().may_use(name):
        raise Forbidden(f"this token may not use the agent {name!r}: its scopes need a glob such as agent_*")
