"""The Google Gemini wire: generateContent and streamGenerateContent."""

from __future__ import annotations

import re
from collections.abc import Mapping

from roost.log.content import ErrorData
from roost.models.media.limits import MB, MediaLimits, from_base64
from roost.models.profile import MediaLimit, Profile
from roost.models.prompt import Prompt
from roost.models.wire import Endpoint, HttpCall
from roost.models.wires.base import BaseWire
from roost.models.wires.gemini.answer import GeminiAnswer
from roost.models.wires.gemini.errors import gemini_error
from roost.models.wires.gemini.request import KNOBS, NAME, Quirks, body_of

VERSION = "v1beta"
_VERSIONED = re.compile(r"/v\d\w*$")
_PICTURES = ("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif")


def versioned(base: str) -> str:
    """Return the base URL with a version: its own, or `VERSION`."""
    return base if _VERSIONED.search(base) else f"{base}/{VERSION}"


class Gemini(BaseWire[Quirks]):
    """A base URL that ends in a version (`/v1`) keeps it; otherwise `VERSION` is added.

    The limits are those of ai.google.dev/gemini-api/docs/file-input-methods, .../image-understanding and
    .../video-understanding: 100 MB a request in line (an older page says 20; 23 went through), 50 MB a PDF, 3,600
    pictures, 10 videos, no GIF.
    """

    name = NAME
    options = Quirks
    knobs = KNOBS
    embeddings = "google"
    media = MediaLimits(
        kinds={
            "image": MediaLimit(types=_PICTURES, count=3_600, urls=True),
            "audio": MediaLimit(urls=True),
            "video": MediaLimit(count=10, urls=True),
            "file": MediaLimit(bytes=50 * MB, urls=True),
        },
        total=from_base64(95 * MB),
        own=True,
    )
    models_path = f"{VERSION}/models"

    def auth(self, key: str) -> Mapping[str, str]:
        return {"x-goog-api-key": key}

    def call(self, prompt: Prompt, model: str, profile: Profile, endpoint: Endpoint, *, stream: bool) -> HttpCall:
        path = model if "/" in model else f"models/{model}"
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        url = endpoint.with_query(f"{versioned(endpoint.root)}/{path}:{method}")
        return self.post(url, body_of(prompt, profile, self.quirks), endpoint, stream=stream)

    def answer(
        self, prompt: Prompt, profile: Profile, *, where: str, model: str = "", endpoint: Endpoint | None = None
    ) -> GeminiAnswer:
        return GeminiAnswer(prompt, profile, where=where)

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, *, where: str) -> ErrorData:
        return gemini_error(status, headers, body, where=where)


WIRE = Gemini
