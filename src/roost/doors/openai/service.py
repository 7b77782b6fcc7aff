"""Answer requests of the OpenAI API: `/v1/models` and `/v1/chat/completions`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.types import Receive, Scope

from roost.doors.conversations import Conversations
from roost.doors.models import agent_of, model_of, unknown, usable
from roost.doors.openai import gateway_mode
from roost.doors.openai.agent_mode import ChatTurn, TurnStream, whole_turn
from roost.doors.openai.chat_request import ChatRequest, dialogue
from roost.doors.openai.client_tools import chosen_tools, response_schema, tool_specs
from roost.doors.openai.responses_service import Responses
from roost.doors.talk import Talk
from roost.doors.unavailable import unavailable
from roost.errors import Invalid
from roost.features.client_tools.events import ClientOfferInput, ClientResultInput, OfferedTool
from roost.log.content import Text
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.request_body import decode_body, header, read_body
from roost.server.responses import ReplyCall, json
from roost.server.sessions import check_room

BODY_BYTES = 16 * 1024 * 1024
"""Most bytes of a request: clients send the whole history, with its images, each time."""
_MESSAGES = 20_000
_LARGE = 100_000
"""Bytes of a request that is read beside the event loop."""
_SESSION = "roost-session"
_CHAT = "/v1/chat/completions"
_ASSISTANTS = (
    "there are no assistants: use Responses with a conversation, or the Agents API; an agent is defined by Roost"
)
_REASONS = {
    _CHAT: "completions are not stored for reading: the conversation is a session, named by the header roost-session",
    "/v1/assistants": _ASSISTANTS,
    "/v1/threads": _ASSISTANTS,
    "/v1/chatkit": "there is no ChatKit: serve a page with AG-UI at /ag-ui/AGENT, or use Responses with a conversation",
    "/v1/realtime": "there is no realtime audio: send audio as a part of a chat completion or of a response",
}
"""What the protocol has and this home has not."""
_decoder = msgspec.json.Decoder(ChatRequest)


class Service:
    def __init__(self, name: str, api: Api) -> None:
        self._name, self._api = name, api
        self._agents = api.runtime.agents
        self._conversations = Conversations(name, api.runtime, self._agents.get)

    def routes(self) -> Mapping[str, Methods]:
        missing = unavailable(_REASONS)
        return {
            **missing,
            **Responses(self._name, self._api, self._conversations).routes(),
            "/v1/models": {"GET": self.models},
            "/v1/models/{model:path}": {"GET": self.model},
            _CHAT: {**missing[_CHAT], "POST": self.chat},
        }

    @needs("read")
    async def models(self, scope: Scope, receive: Receive) -> ReplyCall:
        return json(200, {"object": "list", "data": await self._listed()})

    @needs("read")
    async def model(self, scope: Scope, receive: Receive) -> ReplyCall:
        name = scope["path_params"]["model"]
        found = next((one for one in await self._listed() if one["id"] == name), None)
        if found is None:
            raise unknown(name)
        return json(200, found)

    async def _listed(self) -> list[dict[str, Any]]:
        """List the agents, then the usable models of the router's profile in use."""
        agents = [_entry(agent.name, "roost:agent") for agent in self._agents.all()]
        return agents + [_entry(one.name, one.name.partition("/")[0]) for one in await usable(self._api)]

    @needs("use")
    async def chat(self, scope: Scope, receive: Receive) -> ReplyCall:
        data = await read_body(scope, receive, limit=BODY_BYTES)
        request = decode_body(scope, data, _decoder)
        if request.n not in (None, 1):
            raise Invalid(f"n: {request.n} answers at once are not possible here; ask for each")
        check_room(self._api)
        if (agent := agent_of(self._api, request.model)) is not None:
            return await self._agent_mode(agent, request, scope, len(data))
        return gateway_mode.reply(self._api, await model_of(self._api, request.model), request)

    async def _agent_mode(self, agent: str, request: ChatRequest, scope: Scope, size: int) -> ReplyCall:
        own = self._agents.get(agent).tools
        if both := [tool.name for tool in tool_specs(request.tools) if tool.name in own]:
            raise Invalid(f"tools: the agent has tools of these names itself: {', '.join(both)}")
        if len(request.messages) > _MESSAGES:
            raise Invalid(f"messages: a request has at most {_MESSAGES}, not {len(request.messages)}")
        large = size > _LARGE
        talk = await asyncio.to_thread(_talk, agent, request, scope) if large else _talk(agent, request, scope)
        entered = await self._conversations.enter(talk)
        turn = ChatTurn(self._api, self._conversations, entered, request.model)
        return TurnStream(turn, usage=request.wants_usage) if request.stream else whole_turn(turn)


def _talk(agent: str, request: ChatRequest, scope: Scope) -> Talk:
    said = dialogue(request.messages)
    named = header(scope, _SESSION.encode()) or (request.metadata or {}).get(_SESSION)
    key = header(scope, b"idempotency-key")
    if named is not None and not isinstance(named, str):
        raise Invalid(f"metadata.{_SESSION}: name the session by a string")
    return Talk(
        agent=agent,
        user=request.user or "",
        before=said.before,
        parts=said.parts,
        instructions=said.instructions,
        session=named,
        key=key,
        offer=_offer(request),
        results=tuple(ClientResultInput(call, (Text(text),)) for call, text in said.results.items()),
        repeated=(header(scope, b"x-stainless-retry-count") or "0") != "0",
    )


def _offer(request: ChatRequest) -> ClientOfferInput:
    tools = tool_specs(request.tools)
    mode, chosen = chosen_tools(request.tool_choice, tools)
    offered = [] if mode == "none" else [OfferedTool(tool.name, tool.description, tool.schema) for tool in tools]
    choice = tuple(tool.name for tool in chosen) if mode == "required" else ()
    return ClientOfferInput(tuple(offered), response_schema(request.response_format), choice)


def _entry(name: str, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}
