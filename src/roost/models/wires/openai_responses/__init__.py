"""The OpenAI Responses wire. The server stores nothing: every request contains the whole conversation."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from roost.log.content import ErrorData
from roost.models.profile import Knob, Profile
from roost.models.prompt import Prompt
from roost.models.wire import Endpoint, HttpCall, Options, Wire
from roost.models.wire_body import encode
from roost.models.wires.errors import http_error
from roost.models.wires.openai_responses.answer import OpenAIResponsesAnswer
from roost.models.wires.openai_responses.request import KNOBS, NAME, Quirks, body_of


class OpenAIResponses:
    """The protocol has no stop sequences: those of a prompt are not sent."""

    name = NAME
    knobs: Mapping[str, Knob] = KNOBS

    def __init__(self, quirks: Quirks | None = None) -> None:
        self._quirks = quirks or Quirks()

    def call(self, prompt: Prompt, model: str, profile: Profile, endpoint: Endpoint, *, stream: bool) -> HttpCall:
        body = body_of(prompt, model, profile, self._quirks, stream=stream)
        key = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
        accept = "text/event-stream" if stream else "application/json"
        return HttpCall("POST", endpoint.url("v1/responses"), {"Accept": accept, **key}, encode(body))

    def answer(
        self, prompt: Prompt, profile: Profile, *, where: str, model: str = "", endpoint: Endpoint | None = None
    ) -> OpenAIResponsesAnswer:
        return OpenAIResponsesAnswer(prompt, profile, where=where)

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, *, where: str) -> ErrorData:
        return http_error(status, headers, body, where=where)


def make(options: Options) -> Wire:
    """Make the wire. options: the fields of `Quirks`."""
    return OpenAIResponses(msgspec.convert(options, Quirks))
