"""The Google Gemini wire: generateContent and streamGenerateContent."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from roost.log.content import ErrorData
from roost.models.profile import Knob, Profile
from roost.models.prompt import Prompt
from roost.models.wire import Endpoint, HttpCall, Options, Wire
from roost.models.wire_body import encode
from roost.models.wires.gemini.answer import GeminiAnswer
from roost.models.wires.gemini.errors import gemini_error
from roost.models.wires.gemini.request import KNOBS, NAME, Quirks, body_of

VERSION = "v1beta"
_VERSIONED = re.compile(r"/v\d\w*$")


class Gemini:
    """A base URL that ends in a version (`/v1`) keeps it; otherwise `VERSION` is added."""

    name = NAME
    knobs: Mapping[str, Knob] = KNOBS

    def __init__(self, quirks: Quirks | None = None) -> None:
        self._quirks = quirks or Quirks()

    def call(self, prompt: Prompt, model: str, profile: Profile, endpoint: Endpoint, *, stream: bool) -> HttpCall:
        base = endpoint.root
        base = base if _VERSIONED.search(base) else f"{base}/{VERSION}"
        path = model if "/" in model else f"models/{model}"
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        key = {"x-goog-api-key": endpoint.key} if endpoint.key else {}
        accept = "text/event-stream" if stream else "application/json"
        body = encode(body_of(prompt, profile, self._quirks))
        return HttpCall("POST", endpoint.with_query(f"{base}/{path}:{method}"), {"Accept": accept, **key}, body)

    def answer(
        self, prompt: Prompt, profile: Profile, *, where: str, model: str = "", endpoint: Endpoint | None = None
    ) -> GeminiAnswer:
        return GeminiAnswer(prompt, profile, where=where)

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, *, where: str) -> ErrorData:
        return gemini_error(status, headers, body, where=where)


def make(options: Options) -> Wire:
    """Make the wire. options: the fields of `Quirks`."""
    return Gemini(msgspec.convert(options, Quirks))
