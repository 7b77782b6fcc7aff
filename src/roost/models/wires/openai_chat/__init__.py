"""The OpenAI chat completions wire, for any server of this protocol, by its base URL."""

from __future__ import annotations

from roost.models.media.limits import MB, PICTURE_TYPES, MediaLimits, from_base64
from roost.models.profile import MediaLimit, Profile
from roost.models.prompt import Prompt
from roost.models.wire import Endpoint, HttpCall
from roost.models.wires.base import BaseWire
from roost.models.wires.openai_chat.answer import OpenAIChatAnswer
from roost.models.wires.openai_chat.reasoning import reasoning_origin
from roost.models.wires.openai_chat.request import KNOBS, NAME, Quirks, body_of

PICTURES = MediaLimit(types=PICTURE_TYPES, count=1_500, side=173 * 32, urls=True)
"""OpenAI's limits, also of its other protocol. The newest models refuse a picture of more than 30,000 squares of 32
pixels; for a square picture this is `side`."""
ALL_MEDIA = from_base64(500 * MB)


class OpenAIChat(BaseWire[Quirks]):
    """The limits are those of developers.openai.com/api/docs/guides/images-vision and .../file-inputs: 512 MB and 1,500
    pictures a request, no animated GIF, 50 MB of files together, sound as wav or mp3. No limit is stated for the bytes
    of one picture or recording."""

    name = NAME
    options = Quirks
    knobs = KNOBS
    embeddings = "openai"
    media = MediaLimits(
        kinds={
            "image": PICTURES,
            "audio": MediaLimit(types=("audio/wav", "audio/mpeg")),
            "video": MediaLimit(urls=True),
            "file": MediaLimit(types=("application/pdf",), bytes=50 * MB, total_bytes=50 * MB),
        },
        total=ALL_MEDIA,
        still=True,
    )

    def call(self, prompt: Prompt, model: str, profile: Profile, endpoint: Endpoint, *, stream: bool) -> HttpCall:
        origin = reasoning_origin(NAME, endpoint, model)
        body = body_of(prompt, model, profile, self.quirks, stream=stream, origin=origin)
        return self.post(endpoint.url("chat/completions"), body, endpoint, stream=stream)

    def answer(
        self, prompt: Prompt, profile: Profile, *, where: str, model: str = "", endpoint: Endpoint | None = None
    ) -> OpenAIChatAnswer:
        origin = reasoning_origin(NAME, endpoint, model) if endpoint else None
        return OpenAIChatAnswer(prompt, profile, where=where, quirks=self.quirks, origin=origin)


WIRE = OpenAIChat
