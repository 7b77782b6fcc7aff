"""Answer requests of the Anthropic API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope

from roost.doors.anthropic import gateway_mode
from roost.doors.anthropic.agent_mode import MessageTurn, TurnStream, interrupted, talk_of, whole_turn
from roost.doors.anthropic.client_identity import client_of
from roost.doors.anthropic.errors import request_id
from roost.doors.anthropic.message_request import MessageRequest
from roost.doors.conversations import Conversations
from roost.doors.models import agent_of, model_of, usable
from roost.doors.unavailable import unavailable
from roost.errors import Conflict, Invalid
from roost.models.tokens import estimate_request, estimate_text
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.request_body import decode_body, read_body
from roost.server.responses import Reply, ReplyCall, json
from roost.server.sessions import check_room

BODY_BYTES = 32 * 1024 * 1024
"""Most bytes of a request: clients send the whole history, with its images, each time."""
_MESSAGES = 20_000
_LARGE = 100_000
"""Bytes of a request that is read beside the event loop."""
_PAGE = 20
_REASONS = {"/v1/messages/batches": "there are no batches: send each message by itself; many at once share the limits"}
"""What the protocol has and this home has not."""
_decoder = msgspec.json.Decoder(MessageRequest)


class Service:
    def __init__(self, name: str, api: Api) -> None:
        self._api = api
        self._agents = api.runtime.agents
        self._conversations = Conversations(name, api.runtime, self._agents.get)

    def routes(self) -> Mapping[str, Methods]:
        return {
            "/": {"HEAD": self.alive},
            "/v1/models": {"GET": self.models},
            "/v1/models/{model:path}": {"GET": self.model},
            "/v1/messages": {"POST": self.create},
            "/v1/messages/count_tokens": {"POST": self.count_tokens},
            **unavailable(_REASONS),
        }

    @needs("read")
    async def alive(self, scope: Scope, receive: Receive) -> ReplyCall:
        return Reply(200, headers=[request_id()])

    @needs("read")
    async def models(self, scope: Scope, receive: Receive) -> ReplyCall:
        """List the agents, then the usable models of the router's profile, a page at a time."""
        asked = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        limit = asked.get("limit", str(_PAGE))
        if not (limit.isascii() and limit.isdigit() and len(limit) < 5 and 1 <= int(limit) <= 1000):
            raise Invalid(f"limit: give a number from 1 to 1000, not {limit[:20]!r}")
        found = await self._listed()
        ids = [one["id"] for one in found]
        if (before := asked.get("before_id")) in ids:
            end = ids.index(before)
            page, more = found[max(0, end - int(limit)) : end], end > int(limit)
        else:
            start = ids.index(asked["after_id"]) + 1 if asked.get("after_id") in ids else 0
            page, more = found[start : start + int(limit)], len(found) > start + int(limit)
        ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
        return json(200, {"data": page, "has_more": more, **ends}, headers=[request_id()])

    @needs("read")
    async def model(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Describe an agent or a model by any name that a request may have."""
        name = scope["path_params"]["model"]
        found = next((one for one in await self._listed() if one["id"] == name), None)
        if found is None:
            agent = agent_of(self._api, name)
            profile = None if agent is not None else (await model_of(self._api, name)).profile
            found = _entry(name, profile and profile.window, profile and profile.max_output)
        return json(200, found, headers=[request_id()])

    async def _listed(self) -> list[dict[str, Any]]:
        agents = [_entry(agent.name) for agent in self._agents.all()]
        return agents + [_entry(one.name, one.window, one.max_output) for one in await usable(self._api)]

    @needs("use")
    async def create(self, scope: Scope, receive: Receive) -> ReplyCall:
        request, size = await self._read(scope, receive)
        check_room(self._api)
        client = client_of(request, scope)
        large = size > _LARGE
        if (agent := agent_of(self._api, request.model)) is None:
            model = await model_of(self._api, request.model)
            if large:
                return await asyncio.to_thread(gateway_mode.reply, self._api, model, request, client)
            return gateway_mode.reply(self._api, model, request, client)
        said = (self._agents.get(agent), request, client, scope)
        talk = await asyncio.to_thread(talk_of, *said) if large else talk_of(*said)
        try:
            entered = await self._conversations.enter(talk)
        except Conflict as error:
            instead = interrupted(talk, request) if error.code == "idempotency_mismatch" else None
            if instead is None:
                raise
            entered = await self._conversations.enter(instead)
        turn = MessageTurn(self._api, self._conversations, entered, request.model)
        return TurnStream(turn) if request.stream else whole_turn(turn)

    @needs("read")
    async def count_tokens(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Estimate the tokens of a request, without asking a model."""
        request, _ = await self._read(scope, receive)
        agent = agent_of(self._api, request.model)
        if agent is None:
            await model_of(self._api, request.model)
        tokens = await asyncio.to_thread(lambda: estimate_request(gateway_mode.request_of(request, whole=False)))
        own = 0 if agent is None else estimate_text(self._agents.get(agent).instructions)
        return json(200, {"input_tokens": tokens + own}, headers=[request_id()])

    async def _read(self, scope: Scope, receive: Receive) -> tuple[MessageRequest, int]:
        """Return the request and its size."""
        data = await read_body(scope, receive, limit=BODY_BYTES)
        if len(data) > 10 * _LARGE:
            request = await asyncio.to_thread(decode_body, scope, data, _decoder)
        else:
            request = decode_body(scope, data, _decoder)
        if len(request.messages) > _MESSAGES:
            raise Invalid(f"messages: a request has at most {_MESSAGES}, not {len(request.messages)}")
        return request, len(data)


def _entry(name: str, window: int | None = None, most: int | None = None) -> dict[str, Any]:
    """Return an agent or a model. When a model was released is not known here: the protocol then has the epoch."""
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": window,
        "max_tokens": most,
    }
