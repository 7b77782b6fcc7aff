"""The OpenAI Responses wire. The server stores nothing: every request contains the whole conversation."""

from __future__ import annotations

from roost.models.media.limits import MB, MediaLimits
from roost.models.profile import MediaLimit, Profile
from roost.models.prompt import Prompt
from roost.models.wire import Endpoint, HttpCall
from roost.models.wires.base import BaseWire
from roost.models.wires.openai_chat import ALL_MEDIA, PICTURES
from roost.models.wires.openai_responses.answer import OpenAIResponsesAnswer
from roost.models.wires.openai_responses.request import KNOBS, NAME, Quirks, body_of


class OpenAIResponses(BaseWire[Quirks]):
    """The protocol has no stop sequences: those of a prompt are not sent."""

    name = NAME
    options = Quirks
    knobs = KNOBS
    embeddings = "openai"
    media = MediaLimits(
        kinds={"image": PICTURES, "file": MediaLimit(bytes=50 * MB, total_bytes=50 * MB, urls=True)},
        total=ALL_MEDIA,
        still=True,
    )

    def call(self, prompt: Prompt, model: str, profile: Profile, endpoint: Endpoint, *, stream: bool) -> HttpCall:
        body = body_of(prompt, model, profile, self.quirks, stream=stream)
        return self.post(endpoint.url("v1/responses"), body, endpoint, stream=stream)

    def answer(
        self, prompt: Prompt, profile: Profile, *, where: str, model: str = "", endpoint: Endpoint | None = None
    ) -> OpenAIResponsesAnswer:
        return OpenAIResponsesAnswer(prompt, profile, where=where)


WIRE = OpenAIResponses
