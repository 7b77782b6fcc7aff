"""Agents: reusable configurations. Those of this node are agents here too, which the API does not change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.types import Receive, Scope

from roost.agent.definition import Agent, AgentSpec
from roost.authority import current
from roost.doors.models import agent_of
from roost.doors.openai_agents.agent_config import AgentBody, AgentConfig
from roost.doors.openai_agents.agent_spec import agent_for
from roost.doors.openai_agents.context import Context, body_of, digest, is_repeated, missing, request_key
from roost.doors.openai_agents.paging import Page, documents, page_of
from roost.errors import Conflict, Forbidden, Invalid, NotFound
from roost.features.definitions.definitions import KIND, Definition, Definitions
from roost.ids import is_id, new_id
from roost.log.documents import Document
from roost.server.door import Methods, needs
from roost.server.responses import ReplyCall, json

_TRIES = 8


class Agents:
    def __init__(self, context: Context) -> None:
        self._context, self._api = context, context.api

    def routes(self) -> Mapping[str, Methods]:
        return {
            "/v1/agents": {"GET": self.list, "POST": self.create},
            "/v1/agents/{agent}": {"GET": self.retrieve, "POST": self.update, "DELETE": self.delete},
        }

    @needs("use")
    async def create(self, scope: Scope, receive: Receive) -> ReplyCall:
        body = await body_of(scope, receive, AgentBody)
        if body.model is msgspec.UNSET:
            raise Invalid("model: name the model of the agent")
        config = AgentConfig(model="").merged(body)
        owner, key = self._context.owner(scope), request_key(scope)
        name = new_id("agent") if key is None else f"agent_{digest(owner, key)}"
        if not self._may_use(name, config):
            raise Forbidden(f"this token may not use the agent {name!r}: its scopes need a glob such as agent_*")
        spec = await self._spec(config, name)
        try:
            made = await self._kept.make(spec, door=self._context.name, shown=_kept(config), owner=owner)
        except Conflict:  # the key made it before
            made = await self._kept.get(name, owner=owner)
            if config_of(made) != config:
                raise Conflict("the Idempotency-Key made another agent", code="idempotency_mismatch") from None
        return json(200, shown(made))

    @needs("read")
    async def retrieve(self, scope: Scope, receive: Receive) -> ReplyCall:
        return json(200, await self._shown(scope))

    @needs("use")
    async def update(self, scope: Scope, receive: Receive) -> ReplyCall:
        name, owner = scope["path_params"]["agent"], self._context.owner(scope)
        body = await body_of(scope, receive, AgentBody)
        known = await self.definition(name, owner)
        if known is None:
            self._own(name)
            raise Conflict(
                f"{name!r} is an agent of this home's files, which the API does not change", code="read_only"
            )
        for _ in range(_TRIES):
            config = config_of(known).merged(body)
            new = await self._spec(config, name), _kept(config)
            try:
                made = await self._kept.change(name, lambda _, new=new: new, version=known.version, owner=owner)
            except Conflict as error:
                if error.code != "version_conflict":
                    raise
                known = await self._kept.get(name, owner=owner)  # somebody changed it meanwhile
            else:
                return json(200, shown(made))
        raise Conflict(f"agent {name!r} is changed by too many clients at once", code="version_conflict")

    @needs("use")
    async def delete(self, scope: Scope, receive: Receive) -> ReplyCall:
        name, owner = scope["path_params"]["agent"], self._context.owner(scope)
        if await self.definition(name, owner) is None:
            if is_repeated(scope) and is_id(name) and await self._deleted(name, owner):
                return json(200, {"id": name, "object": "agent.deleted", "deleted": True})
            self._own(name)
            raise Conflict(f"{name!r} is an agent of this home's files; delete it there", code="read_only")
        await self._kept.archive(name, owner=owner)
        return json(200, {"id": name, "object": "agent.deleted", "deleted": True})

    @needs("read")
    async def list(self, scope: Scope, receive: Receive) -> ReplyCall:
        page = Page.of(scope)
        found = documents(
            self._context.documents,
            KIND,
            page,
            owner=self._context.owner(scope),
            key=("door", self._context.name),
        )

        async def entry(document: Document) -> dict[str, Any] | None:
            made = msgspec.json.decode(document.body, type=Definition)
            here = made.archived is None and self._may_use(made.name, config_of(made))
            return shown(made) if here else None

        return json(200, await page_of(found, page, entry))

    async def definition(self, name: str, owner: str) -> Definition | None:
        """Return an agent that was made here and not deleted, and that the request may use."""
        if not is_id(name):
            return None
        try:
            found = await self._kept.get(name, owner=owner)
        except NotFound:
            return None
        here = found.archived is None and found.door == self._context.name
        return found if here and self._may_use(found.name, config_of(found)) else None

    def _may_use(self, name: str, config: AgentConfig) -> bool:
        """Whether the request may use an agent. One that means an agent of this node is used as that one."""
        return current().may_use(agent_of(self._api, config.model) or name)

    async def config(self, name: str, owner: str) -> AgentConfig:
        """Return the configuration of an agent, made here or one of this node's. Raises `NotFound`."""
        found = await self.definition(name, owner)
        return _config_of_own(self._own(name)) if found is None else config_of(found)

    async def _deleted(self, name: str, owner: str) -> bool:
        try:
            return (await self._kept.get(name, owner=owner)).archived is not None
        except NotFound:
            return False

    async def _shown(self, scope: Scope) -> dict[str, Any]:
        name = scope["path_params"]["agent"]
        found = await self.definition(name, self._context.owner(scope))
        if found is not None:
            return shown(found)
        config = _config_of_own(self._own(name))
        return _resource(name, config, 0, None)

    def _own(self, name: str) -> Agent:
        found = self._api.runtime.agents.find(name)
        if found is None or not current().may_use(name):
            raise missing("agent", name)
        return found

    async def _spec(self, config: AgentConfig, name: str) -> AgentSpec:
        agent = await agent_for(self._api, config, name)
        return msgspec.structs.replace(agent.spec, name=name)

    @property
    def _kept(self) -> Definitions:
        return Definitions(self._context.documents)


def config_of(made: Definition) -> AgentConfig:
    return msgspec.convert(made.shown, AgentConfig)


def shown(made: Definition) -> dict[str, Any]:
    return _resource(made.name, config_of(made), int(made.created), int(made.changed))


def _kept(config: AgentConfig) -> dict[str, Any]:
    return msgspec.to_builtins(config)


def _resource(id: str, config: AgentConfig, created: int, updated: int | None) -> dict[str, Any]:
    return {
        "id": id,
        "object": "agent",
        "created_at": created,
        "updated_at": created if updated is None else updated,
        "name": config.name,
        "metadata": config.metadata,
        **config.shown(),
    }


def _config_of_own(agent: Agent) -> AgentConfig:
    return AgentConfig(model=agent.name, name=agent.name)
