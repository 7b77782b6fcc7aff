"""The OpenAI chat completions wire, for any server of this protocol, by its base URL."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from roost.log.content import ErrorData
from roost.models.profile import Knob, Profile
from roost.models.prompt import Prompt
from roost.models.wire import Endpoint, HttpCall, Options, Wire
from roost.models.wire_body import encode
from roost.models.wires.errors import http_error
from roost.models.wires.openai_chat.answer import OpenAIChatAnswer
from roost.models.wires.openai_chat.reasoning import reasoning_origin
from roost.models.wires.openai_chat.request import KNOBS, NAME, Quirks, body_of


class OpenAIChat:
    name = NAME
    knobs: Mapping[str, Knob] = KNOBS

    def __init__(self, quirks: Quirks | None = None) -> None:
        self._quirks = quirks or Quirks()

    def call(self, prompt: Prompt, model: str, profile: Profile, endpoint: Endpoint, *, stream: bool) -> HttpCall:
        origin = reasoning_origin(NAME, endpoint, model)
        body = body_of(prompt, model, profile, self._quirks, stream=stream, origin=origin)
        key = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
        accept = "text/event-stream" if stream else "application/json"
        return HttpCall("POST", endpoint.url("chat/completions"), {"Accept": accept, **key}, encode(body))

    def answer(
        self, prompt: Prompt, profile: Profile, *, where: str, model: str = "", endpoint: Endpoint | None = None
    ) -> OpenAIChatAnswer:
        origin = reasoning_origin(NAME, endpoint, model) if endpoint else None
        return OpenAIChatAnswer(prompt, profile, where=where, quirks=self._quirks, origin=origin)

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, *, where: str) -> ErrorData:
        return http_error(status, headers, body, where=where)


def make(options: Options) -> Wire:
    """Make the wire. options: the fields of `Quirks`."""
    return OpenAIChat(msgspec.convert(options, Quirks))
