"""GLM's own wire, for open.bigmodel.cn and api.z.ai: chat completions with thinking, synchronous or as a task."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from roost.log.content import ErrorData
from roost.models.profile import Knob, Profile
from roost.models.prompt import Prompt
from roost.models.wire import Endpoint, HttpCall, Options, Wire
from roost.models.wire_body import encode
from roost.models.wires.glm.answer import GlmAnswer
from roost.models.wires.glm.errors import glm_error
from roost.models.wires.glm.request import KNOBS, NAME, Quirks, body_of

ROOT = "api/paas/v4"


class Glm:
    """A base URL that contains `/paas/`, as that of a coding plan, is used unchanged; otherwise `ROOT` is added."""

    name = NAME
    knobs: Mapping[str, Knob] = KNOBS

    def __init__(self, quirks: Quirks | None = None) -> None:
        self._quirks = quirks or Quirks()

    def call(self, prompt: Prompt, model: str, profile: Profile, endpoint: Endpoint, *, stream: bool) -> HttpCall:
        body = body_of(prompt, model, profile, self._quirks, stream=stream)
        key = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
        accept = "text/event-stream" if stream else "application/json"
        path = "async/chat/completions" if self._quirks.asynchronous and not stream else "chat/completions"
        return HttpCall(
            "POST", endpoint.with_query(f"{_base(endpoint)}/{path}"), {"Accept": accept, **key}, encode(body)
        )

    def answer(
        self, prompt: Prompt, profile: Profile, *, where: str, model: str = "", endpoint: Endpoint | None = None
    ) -> GlmAnswer:
        return GlmAnswer(prompt, profile, self._quirks, where=where)

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, *, where: str) -> ErrorData:
        return glm_error(status, headers, body, where=where)


def _base(endpoint: Endpoint) -> str:
    base = endpoint.root
    return base if "/paas/" in base else f"{base.removesuffix('/v1')}/{ROOT}"


def make(options: Options) -> Wire:
    """Make the wire. options: the fields of `Quirks`."""
    return Glm(msgspec.convert(options, Quirks))
