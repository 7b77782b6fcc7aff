"""The Anthropic Messages wire."""

from __future__ import annotations

from collections.abc import Mapping

from roost.models.media.limits import MB, PICTURE_TYPES, MediaLimits, from_base64
from roost.models.profile import MediaLimit, Profile
from roost.models.prompt import Prompt
from roost.models.wire import Endpoint, HttpCall
from roost.models.wires.anthropic.answer import AnthropicAnswer
from roost.models.wires.anthropic.request import KNOBS, NAME, SAMPLING, SAMPLING_VERSION, VERSION, Quirks, body_of
from roost.models.wires.base import BaseWire

_MEDIA = from_base64(30 * MB)
"""A request may have 32 MB; the rest is for text."""


class Anthropic(BaseWire[Quirks]):
    """The limits are those of platform.claude.com/docs/en/build-with-claude/vision: 10 MB of base64 a picture (the
    server refuses with "exceeds 10 MB maximum"; Bedrock and Google Cloud take 5), 8,000 pixels, 600 pictures, 100 with
    a window of 200,000 tokens, 32 MB a request, only the first image of an animation. From the 21st picture on the
    limit is below 8,000 pixels; the page calls 2,000 safe."""

    name = NAME
    options = Quirks
    knobs = KNOBS
    media = MediaLimits(
        kinds={
            "image": MediaLimit(types=PICTURE_TYPES, count=600, bytes=from_base64(10 * MB), side=8_000, urls=True),
            "file": MediaLimit(types=("application/pdf",), bytes=_MEDIA, urls=True),
        },
        total=_MEDIA,
        crowd=(20, 2_000),
        small=(200_000, 100),
    )
    models_path = "v1/models"

    def auth(self, key: str) -> Mapping[str, str]:
        return super().auth(key) if self.quirks.bearer else {"x-api-key": key}

    def call(self, prompt: Prompt, model: str, profile: Profile, endpoint: Endpoint, *, stream: bool) -> HttpCall:
        body = body_of(prompt, model, profile, stream=stream)
        version = self.quirks.version or (SAMPLING_VERSION if any(name in body for name in SAMPLING) else VERSION)
        betas = {"anthropic-beta": ",".join(self.quirks.betas)} if self.quirks.betas else {}
        headers = {"anthropic-version": version, **betas}
        return self.post(endpoint.url("v1/messages"), body, endpoint, stream=stream, headers=headers)

    def answer(
        self, prompt: Prompt, profile: Profile, *, where: str, model: str = "", endpoint: Endpoint | None = None
    ) -> AnthropicAnswer:
        return AnthropicAnswer(prompt, profile, where=where)

    def listing(self, endpoint: Endpoint, path: str | None = None) -> HttpCall:
        call = super().listing(endpoint, path)
        url = call.url if path and "://" in path else f"{call.url}{'&' if '?' in call.url else '?'}limit=1000"
        return HttpCall(call.method, url, {**call.headers, "anthropic-version": SAMPLING_VERSION})


WIRE = Anthropic
