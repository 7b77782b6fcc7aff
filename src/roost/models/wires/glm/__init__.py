"""GLM's own wire, for open.bigmodel.cn and api.z.ai: chat completions with thinking, synchronous or as a task."""

from __future__ import annotations

from collections.abc import Mapping

from roost.log.content import ErrorData
from roost.models.media.limits import MediaLimits
from roost.models.profile import MediaLimit, Profile
from roost.models.prompt import Prompt
from roost.models.wire import Endpoint, HttpCall
from roost.models.wires.base import BaseWire
from roost.models.wires.glm.answer import GlmAnswer
from roost.models.wires.glm.errors import glm_error
from roost.models.wires.glm.request import KNOBS, NAME, Quirks, body_of

ROOT = "api/paas/v4"


class Glm(BaseWire[Quirks]):
    """A base URL that contains `/paas/`, as that of a coding plan, is used unchanged; otherwise `ROOT` is added. A
    document is accepted only by URL. That no animation is accepted is an assumption."""

    name = NAME
    options = Quirks
    knobs = KNOBS
    media = MediaLimits(
        kinds={"image": MediaLimit(urls=True), "video": MediaLimit(urls=True), "file": MediaLimit(bytes=0, urls=True)},
        still=True,
    )

    def call(self, prompt: Prompt, model: str, profile: Profile, endpoint: Endpoint, *, stream: bool) -> HttpCall:
        body = body_of(prompt, model, profile, self.quirks, stream=stream)
        path = "async/chat/completions" if self.quirks.asynchronous and not stream else "chat/completions"
        return self.post(endpoint.with_query(f"{_base(endpoint)}/{path}"), body, endpoint, stream=stream)

    def answer(
        self, prompt: Prompt, profile: Profile, *, where: str, model: str = "", endpoint: Endpoint | None = None
    ) -> GlmAnswer:
        return GlmAnswer(prompt, profile, self.quirks, where=where)

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, *, where: str) -> ErrorData:
        return glm_error(status, headers, body, where=where)


def _base(endpoint: Endpoint) -> str:
    base = endpoint.root
    return base if "/paas/" in base else f"{base.removesuffix('/v1')}/{ROOT}"


WIRE = Glm
