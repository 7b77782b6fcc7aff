"""The Anthropic Messages wire."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from roost.log.content import ErrorData
from roost.models.profile import Knob, Profile
from roost.models.prompt import Prompt
from roost.models.wire import Endpoint, HttpCall, Options, Wire
from roost.models.wire_body import encode
from roost.models.wires.anthropic.answer import AnthropicAnswer
from roost.models.wires.anthropic.request import KNOBS, NAME, SAMPLING, SAMPLING_VERSION, VERSION, Quirks, body_of
from roost.models.wires.errors import http_error


class Anthropic:
    name = NAME
    knobs: Mapping[str, Knob] = KNOBS

    def __init__(self, quirks: Quirks | None = None) -> None:
        self._quirks = quirks or Quirks()

    def call(self, prompt: Prompt, model: str, profile: Profile, endpoint: Endpoint, *, stream: bool) -> HttpCall:
        quirks, key = self._quirks, endpoint.key
        body = body_of(prompt, model, profile, stream=stream)
        version = quirks.version or (SAMPLING_VERSION if any(name in body for name in SAMPLING) else VERSION)
        headers = {"anthropic-version": version, "Accept": "text/event-stream" if stream else "application/json"}
        if key:
            headers |= {"Authorization": f"Bearer {key}"} if quirks.bearer else {"x-api-key": key}
        if quirks.betas:
            headers["anthropic-beta"] = ",".join(quirks.betas)
        return HttpCall("POST", endpoint.url("v1/messages"), headers, encode(body))

    def answer(
        self, prompt: Prompt, profile: Profile, *, where: str, model: str = "", endpoint: Endpoint | None = None
    ) -> AnthropicAnswer:
        return AnthropicAnswer(prompt, profile, where=where)

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, *, where: str) -> ErrorData:
        return http_error(status, headers, body, where=where)


def make(options: Options) -> Wire:
    """Make the wire. options: the fields of `Quirks`."""
    return Anthropic(msgspec.convert(options, Quirks))
