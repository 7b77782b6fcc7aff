"""Answer requests of termo-agent's clients: each path names the agent."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.types import Receive, Scope

from roost.agent.definition import Agent
from roost.authority import NOBODY, acting, become, current
from roost.doors.conversations import Conversations
from roost.doors.json_body import json_of
from roost.doors.talk import Talk
from roost.doors.termo import requests
from roost.doors.termo.adapter_routes import (
    DIRECT,
    METHODS,
    PUBLIC,
    SESSION,
    is_adapter,
    is_public,
    request_text,
    response_of,
)
from roost.doors.termo.memories import AgentMemory
from roost.doors.termo.turn_events import TurnStream, shown
from roost.doors.turn import Turn
from roost.doors.turn_reader import CallsWait, TurnEnd
from roost.errors import Invalid, NotFound
from roost.features.frameworks.route_messages import RouteMessages
from roost.features.frameworks.start import SESSION_KEY as KEY_LABEL
from roost.features.frameworks.state import FrameworkState
from roost.kernel.sessions import check_message
from roost.log.content import AssistantMessage, Message, Text, UserMessage
from roost.log.protocols import SessionQuery
from roost.log.schedule_events import ScheduleSpec
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.problems import Problem, Refused
from roost.server.request_body import header
from roost.server.responses import Header, Reply, ReplyCall, json
from roost.server.sessions import check_room
from roost.version import version

BODY_BYTES = 4 * 1024 * 1024
_LABEL = "termo"
HEARTBEAT = "heartbeat"
"""The key of the session with the heartbeat, and the name of its schedule."""
_SECONDS = 1800
_SESSIONS = 200
_PAGES = 25
_sends = msgspec.json.Decoder(requests.Send)
_changes = msgspec.json.Decoder(requests.Change)
_searches = msgspec.json.Decoder(requests.Search)
_RESTART = "Roost runs many agents and does not restart for one: what it accepted survives without it"
_CONFIG = "an agent is changed in its file: change that, then POST …/api/update reads it"


def session_of(agent: str, key: str) -> str:
    """Return the id of the session that clients of an agent call `key`. No two agents and keys have the same."""
    digest = hashlib.blake2b(f"{agent}\0{key}".encode(errors="replace"), digest_size=12).hexdigest()
    return current().session_id(f"termo_{digest}")


class Service:
    """refusal: makes the response of an error."""

    def __init__(self, name: str, api: Api, refusal: Callable[[Problem, list[Header]], Reply]) -> None:
        self._name, self._api, self._runtime = name, api, api.runtime
        self._refusal = refusal
        self._agents = api.runtime.agents
        self._routes = RouteMessages(api.runtime.secret.value)
        self._conversations = Conversations(name, api.runtime, self._agents.get)

    def routes(self) -> Mapping[str, Methods]:
        at = "/termo/{agent}"
        return {
            f"{at}/health": {"GET": self.health},
            f"{at}/api/send": {"POST": self.send},
            f"{at}/api/sessions": {"GET": self.sessions},
            f"{at}/api/sessions/{{rest:path}}": {"GET": self.history, "POST": self.send_too},
            f"{at}/api/config": {"GET": self.config, "PATCH": self.change_config},
            f"{at}/api/update": {"POST": self.update},
            f"{at}/api/tools": {"GET": self.tools},
            f"{at}/api/memory": {"GET": self.memory, "PATCH": self.change_memory},
            f"{at}/api/memory/search": {"POST": self.search_memory},
            f"{at}/api/heartbeat": {"GET": self.heartbeat, "PATCH": self.change_heartbeat},
            f"{at}/api/restart": {"POST": self.restart},
            f"{at}/{{rest:path}}": dict.fromkeys(METHODS, self.own_route),
        }

    def _agent(self, scope: Scope) -> Agent:
        return self._agents.get(scope["path_params"]["agent"])

    @needs("read")
    async def health(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Tell nobody which agents there are: this needs no token."""
        status = await self._api.status()
        return json(200 if status == "ok" else 503, {"status": status, "adapter": "roost", "version": version()})

    # Messages

    @needs("use")
    async def send_too(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Answer `/api/sessions/send`, the older path of `/api/send`."""
        if scope["path_params"]["rest"] != "send":
            raise NotFound(f"there is nothing to post to at {scope['path']}")
        return await self.send(scope, receive)

    @needs("use")
    async def send(self, scope: Scope, receive: Receive) -> ReplyCall:
        given = await json_of(scope, receive, _sends, limit=BODY_BYTES)
        if not given.message:
            raise Invalid("message is required")
        agent, parts = self._agent(scope).name, (Text(given.message),)
        check_message(parts)
        check_room(self._api)
        talk = Talk(
            agent=agent,
            parts=parts,
            session=session_of(agent, given.session_key),
            key=header(scope, b"idempotency-key"),
            labels={_LABEL: "session", KEY_LABEL: given.session_key},
        )
        turn = Turn(self._api, self._conversations, await self._conversations.enter(talk), agent)
        return TurnStream(turn) if given.stream else turn.whole(_answer(given.session_key), self._refusal)

    async def _session(self, agent: str, key: str) -> str:
        """Return the session of a key, which is made with its first use."""
        id = session_of(agent, key)
        try:
            await self._api.sessions.get(id)
        except NotFound:
            labels = {_LABEL: "session", KEY_LABEL: key}
            await self._api.sessions.create(
                self._agents.get(agent), id=id, key=f"{self._name}:{id}", title=None, labels=labels
            )
        return id

    @needs("read")
    async def sessions(self, scope: Scope, receive: Receive) -> ReplyCall:
        """List the sessions of this agent that clients of this door have made."""
        agent, found, last = self._agent(scope).name, list[dict[str, Any]](), None
        for _ in range(_PAGES):
            query = SessionQuery(agent=agent, label=(_LABEL, "session"), limit=_SESSIONS, before=last)
            page = await self._api.sessions.find(query)
            found += [{"session_key": key} for one in page if (key := one.labels.get(KEY_LABEL)) is not None]
            if len(page) < _SESSIONS:
                break
            last = page[-1].id
        return json(200, found)

    # The routes of an adapter

    @needs("read")
    async def own_route(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Let an adapter that this agent is answer, as a turn of a session. One who shows no token gets the public
        routes alone, and does not hear which agents there are."""
        name = scope["path_params"]["agent"]
        if current() is NOBODY and self._api.owner.token is not None:
            with acting(self._api.owner):
                agent = self._agents.find(name)
            if agent is None or not is_public(agent.spec, scope):
                raise Refused(401, "unauthorized", "send the daemon's token: `Authorization: Bearer <token>`")
            become(self._api.owner)
            return await self._routed(scope, receive, PUBLIC, public=True)
        agent = self._agents.find(name)
        if agent is None or not is_adapter(agent.spec):
            raise NotFound(f"there is nothing at {scope['path']}")
        return await self._routed(scope, receive, header(scope, SESSION) or DIRECT)

    async def _routed(self, scope: Scope, receive: Receive, key: str, *, public: bool = False) -> ReplyCall:
        current().demand("use")
        if len(key) > requests.SESSION_KEY:
            raise Invalid(f"a session key has at most {requests.SESSION_KEY} characters")
        agent, request = self._agent(scope).name, await request_text(scope, receive, public=public)
        session = session_of(agent, key)
        said = await self._routes.made(session, request)
        talk = Talk(
            agent=agent,
            parts=(Text(said),),
            session=session,
            key=header(scope, b"idempotency-key") or secrets.token_hex(16),
            labels={_LABEL: "session", KEY_LABEL: key},
        )
        check_message(talk.parts)
        check_room(self._api)
        turn = Turn(self._api, self._conversations, await self._conversations.enter(talk), agent)
        return turn.whole(lambda end: response_of(end.answer), self._refusal)

    @needs("read")
    async def history(self, scope: Scope, receive: Receive) -> ReplyCall:
        key, slash, last = scope["path_params"]["rest"].rpartition("/")
        if not slash or last != "history" or not key:
            raise NotFound(f"there is nothing at {scope['path']}")
        agent = self._agent(scope)
        if is_adapter(agent.spec):
            return json(200, {"session_key": key, "messages": await self._kept(session_of(agent.name, key))})
        try:
            messages = await self._api.sessions.transcript(session_of(agent.name, key))
        except NotFound:  # as termo-agent: what nobody has said is an empty conversation
            messages = []
        told = [one for message in messages if (one := _told(message)) is not None]
        return json(200, {"session_key": key, "messages": told})

    async def _kept(self, session: str) -> list[Any]:
        """Return the history that the adapter of a session told after its newest turn."""
        try:
            _, state = await self._api.sessions.state(session, await self._api.sessions.get(session))
        except NotFound:
            return []
        return [one["history"] for one in state.part(FrameworkState).memory if "history" in one]

    # The agent

    @needs("read")
    async def config(self, scope: Scope, receive: Receive) -> ReplyCall:
        agent = self._agent(scope)
        spec = agent.spec
        if is_adapter(spec):
            return await self._adapter(scope, receive)
        shown = {
            "name": spec.name,
            "description": spec.description,
            "model": spec.model or self._runtime.models.default(),
            "tools": spec.tools,
            "permissions": spec.permissions,
            "version": spec.version,
        }
        return json(200, shown)

    async def _adapter(self, scope: Scope, receive: Receive) -> ReplyCall:
        return await self._routed(scope, receive, header(scope, SESSION) or DIRECT)

    @needs("operate")
    async def change_config(self, scope: Scope, receive: Receive) -> ReplyCall:
        if is_adapter(self._agent(scope).spec):
            return await self._adapter(scope, receive)
        raise Refused(501, "not_supported", _CONFIG)

    @needs("operate")
    async def update(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Read this node's files again; the program itself is not updated."""
        self._agent(scope)
        read = await self._runtime.configuration.reload()
        status = "faults" if read.faults else "ok"
        return json(200, {"status": status, "agents": read.agents, "files": read.files, "faults": read.faults})

    @needs("operate")
    async def restart(self, scope: Scope, receive: Receive) -> ReplyCall:
        if is_adapter(self._agent(scope).spec):
            return await self._adapter(scope, receive)
        raise Refused(501, "not_supported", _RESTART)

    @needs("read")
    async def tools(self, scope: Scope, receive: Receive) -> ReplyCall:
        agent = self._agent(scope)
        if is_adapter(agent.spec):
            return await self._adapter(scope, receive)
        tools = agent.python.toolbox(agent.spec.tools)
        return json(200, [{"name": name, "description": tool.description} for name, tool in tools.items()])

    # Memory

    @needs("read")
    async def memory(self, scope: Scope, receive: Receive) -> ReplyCall:
        if is_adapter(self._agent(scope).spec):
            return await self._adapter(scope, receive)
        return json(200, await self._memory(scope).all())

    @needs("use")
    async def change_memory(self, scope: Scope, receive: Receive) -> ReplyCall:
        if is_adapter(self._agent(scope).spec):
            return await self._adapter(scope, receive)
        await self._memory(scope).change(await _content(scope, receive))
        return json(200, {"status": "ok"})

    @needs("read")
    async def search_memory(self, scope: Scope, receive: Receive) -> ReplyCall:
        if is_adapter(self._agent(scope).spec):
            return await self._adapter(scope, receive)
        given = await json_of(scope, receive, _searches, limit=BODY_BYTES)
        return json(200, {"memories": await self._memory(scope).search(given)})

    def _memory(self, scope: Scope) -> AgentMemory:
        return AgentMemory(self._runtime.memory, self._agent(scope).name)

    # The heartbeat

    @needs("read")
    async def heartbeat(self, scope: Scope, receive: Receive) -> ReplyCall:
        session = session_of(self._agent(scope).name, HEARTBEAT)
        try:
            one = await self._runtime.schedules.get(session, HEARTBEAT)
        except NotFound:
            return json(200, {"content": "", "enabled": False, "interval_s": _SECONDS})
        enabled = one.state == "active" and one.session_state in ("created", "running")
        return json(200, {"content": one.spec.text, "enabled": enabled, "interval_s": one.spec.every or _SECONDS})

    @needs("use")
    async def change_heartbeat(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Make the text the heartbeat's; an empty one ends it."""
        agent, content = self._agent(scope).name, await _content(scope, receive)
        if not isinstance(content, str):
            raise Invalid("content: send the text that the agent hears at each heartbeat")
        schedules = self._runtime.schedules
        if content.strip():
            spec = ScheduleSpec(text=content, every=_SECONDS, heartbeat=True)
            await schedules.set(await self._session(agent, HEARTBEAT), HEARTBEAT, spec)
        else:
            try:
                await schedules.delete(session_of(agent, HEARTBEAT), HEARTBEAT)
            except NotFound:
                pass
        return json(200, {"status": "ok"})


async def _content(scope: Scope, receive: Receive) -> Any:
    content = (await json_of(scope, receive, _changes, limit=BODY_BYTES)).content
    if content is None:
        raise Invalid("content is required")
    return content


def _answer(key: str) -> Any:
    def reply(end: TurnEnd | CallsWait) -> Reply:
        return json(200, {"response": end.answer, "session_key": key})

    return reply


def _told(message: Message) -> dict[str, Any] | None:
    """Return a message of the history; None for one that shows nothing, such as an answer of calls alone."""
    if isinstance(message, UserMessage):
        text = "\n".join(one.text if isinstance(one, Text) else f"[{one.media_type}]" for one in message.parts)
        return {"role": "user", "content": text}
    if isinstance(message, AssistantMessage):
        return {"role": "assistant", "content": message.text} if message.text else None
    return {"role": "tool", "name": message.name, "content": shown(message.parts)}
