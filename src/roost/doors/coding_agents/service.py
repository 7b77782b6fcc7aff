"""Answer the model calls of a session's coding agent, in the protocol that it speaks, by the session's own model.

Whatever model a program names, it gets the session's: the bridge. So it can use nothing that the session may not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import msgspec
from starlette.types import Receive, Scope

from roost.doors.anthropic import gateway_mode as messages
from roost.doors.anthropic.client_identity import client_of
from roost.doors.anthropic.message_request import MessageRequest
from roost.doors.coding_agents.runtime_tools import mcp_routes
from roost.doors.gemini import service as gemini
from roost.doors.openai import gateway_mode as chat
from roost.doors.openai import responses_gateway as responses
from roost.doors.openai.chat_request import ChatRequest
from roost.doors.openai.response_request import ResponseRequest
from roost.features.coding_agents.bridge import PREFIX
from roost.kernel.local_http import CALLER
from roost.models.request import Model
from roost.models.tokens import estimate_request
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.request_body import decode_body, read_body
from roost.server.responses import Reply, ReplyCall, json

BODY_BYTES = 32 * 1024 * 1024
"""Most bytes of a request: programs send the whole history, with its images, each time."""
_LARGE = 100_000
"""Bytes of a request that is read beside the event loop."""
T = TypeVar("T")
_messages = msgspec.json.Decoder(MessageRequest)
_responses = msgspec.json.Decoder(ResponseRequest)
_chat = msgspec.json.Decoder(ChatRequest)


class Service:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._mcp = mcp_routes(api)

    def routes(self) -> Mapping[str, Methods]:
        return {
            f"{PREFIX}/": {"HEAD": self.alive},
            f"{PREFIX}/v1/models": {"GET": self.models},
            f"{PREFIX}/v1/messages": {"POST": self.messages},
            f"{PREFIX}/v1/messages/count_tokens": {"POST": self.count_tokens},
            f"{PREFIX}/v1/responses": {"POST": self.responses},
            f"{PREFIX}/v1/chat/completions": {"POST": self.chat},
            f"{PREFIX}/mcp": self._mcp,
            f"{PREFIX}/v1beta/models/{{call:path}}": {"POST": self.gemini},
            f"{PREFIX}/v1/models/{{call:path}}": {"POST": self.gemini},
        }

    @needs("read")
    async def alive(self, scope: Scope, receive: Receive) -> ReplyCall:
        return Reply(200)

    @needs("read")
    async def models(self, scope: Scope, receive: Receive) -> ReplyCall:
        """List the session's model."""
        one = {"id": _model(scope).name, "object": "model", "created": 0, "owned_by": "roost"}
        return json(200, {"object": "list", "data": [one]})

    @needs("read")
    async def messages(self, scope: Scope, receive: Receive) -> ReplyCall:
        asked, size = await self._read(scope, receive, _messages)
        return await _made(size, lambda: messages.reply(self._api, _model(scope), asked, client_of(asked, scope)))

    @needs("read")
    async def count_tokens(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Estimate the tokens of a request, without asking a model."""
        asked, _ = await self._read(scope, receive, _messages)
        return json(200, {"input_tokens": estimate_request(messages.request_of(asked, whole=False))})

    @needs("read")
    async def responses(self, scope: Scope, receive: Receive) -> ReplyCall:
        asked, size = await self._read(scope, receive, _responses)
        return await _made(size, lambda: responses.reply(self._api, _model(scope), asked))

    @needs("read")
    async def chat(self, scope: Scope, receive: Receive) -> ReplyCall:
        asked, size = await self._read(scope, receive, _chat)
        return await _made(size, lambda: chat.reply(self._api, _model(scope), asked))

    @needs("read")
    async def gemini(self, scope: Scope, receive: Receive) -> ReplyCall:
        name, method = gemini.called(scope)
        body, size = await gemini.body_of(scope, receive)
        if method == "countTokens":
            return json(200, {"totalTokens": await gemini.beside(size, lambda: gemini.counted(body))})
        return await gemini.beside(size, lambda: gemini.reply(self._api, _model(scope), name, method, body, scope))

    async def _read(self, scope: Scope, receive: Receive, decoder: msgspec.json.Decoder[T]) -> tuple[T, int]:
        data = await read_body(scope, receive, limit=BODY_BYTES)
        if len(data) > _LARGE:
            return await asyncio.to_thread(decode_body, scope, data, decoder), len(data)
        return decode_body(scope, data, decoder), len(data)


async def _made(size: int, make: Callable[[], ReplyCall]) -> ReplyCall:
    return await asyncio.to_thread(make) if size > _LARGE else make()


def _model(scope: Scope) -> Model:
    return cast("Model", cast("dict[str, Any]", scope)[CALLER])
