"""Answer requests of the Responses API: `/v1/responses`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.types import Receive, Scope

from roost.doors.conversations import Conversations
from roost.doors.models import model_of
from roost.doors.openai import responses_gateway
from roost.doors.openai.response_request import ResponseRequest
from roost.errors import Invalid
from roost.server.app_state import Api
from roost.server.door import Methods
from roost.server.request_body import decode_body, read_body
from roost.server.responses import ReplyCall
from roost.server.sessions import check_room

BODY_BYTES = 16 * 1024 * 1024
_decoder = msgspec.json.Decoder(ResponseRequest)


class Responses:
    def __init__(self, api: Api, conversations: Conversations) -> None:
        self._api = api
        self._agents = api.runtime.agents
        self._conversations = conversations

    def routes(self) -> Mapping[str, Methods]:
        return {"/v1/responses": {"POST": self.create}}

    async def create(self, scope: Scope, receive: Receive) -> ReplyCall:
        data = await read_body(scope, receive, limit=BODY_BYTES)
        request = decode_body(scope, data, _decoder)
        if request.prompt is not None:
            raise Invalid("prompt: no templates of prompts are kept here; send the text itself")
        check_room(self._api)
        return responses_gateway.reply(self._api, await model_of(self._api, request.model), request)
