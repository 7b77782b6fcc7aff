"""How many tokens a message is, roughly. The provider's own count is the truth; this one is for planning ahead."""

from __future__ import annotations

import msgspec

from roost.log.content import Audio, File, Image, Message, Text, Thinking, ToolCall, Video
from roost.models.request import Request

MEDIA = 1_500
"""Of an image or another file, where too many are better than too few."""
_MEDIA = 1_000
_PER_MESSAGE = 4
_WIDE = bytes(range(0xE3, 0xF5))
"""The first byte, in UTF-8, of what is written from U+3000 on."""
_FOREIGN = bytes(range(0xC2, 0xF5))
"""Of what is not ASCII."""


def estimate_text(text: str) -> int:
    """About 4 characters a token, 3 of other alphabets, and 1 of CJK and its like. Takes about 2 ns a character."""
    if text.isascii():
        return len(text) // 4 + 1
    wide = _count(text, _WIDE)
    return wide + (len(text) - wide) // 3 + 1


def foreign(text: str) -> int:
    """How many characters are not ASCII."""
    return 0 if text.isascii() else _count(text, _FOREIGN)


def _count(text: str, firsts: bytes) -> int:
    data = text.encode("utf-8", "surrogatepass")
    return len(data) - len(data.translate(None, firsts))


def estimate(message: Message, *, media: int = _MEDIA) -> int:
    """`media`: of an image or another file."""
    total = _PER_MESSAGE
    for part in message.parts:
        match part:
            case Text() | Thinking():
                total += estimate_text(part.text)
            case ToolCall():
                total += estimate_text(part.arguments) + estimate_text(part.name)
            case Image() | Audio() | Video() | File():
                total += media
    return total


def estimate_request(request: Request, *, media: int = _MEDIA) -> int:
    """Of all that is sent."""
    texts = (request.instruction, *request.context, *request.constraints, request.output_hint or "")
    total = sum(map(estimate_text, texts)) + sum(estimate(message, media=media) for message in request.messages)
    shapes = [request.tools, request.output_schema] if request.tools or request.output_schema else []
    return total + (len(msgspec.json.encode(shapes)) // 4 if shapes else 0)


def margin(tokens: int) -> int:
    """A third more, for what must not be too low."""
    return -(-tokens * 4 // 3)
