"""Rough token estimates for planning. The provider's own count is authoritative."""

from __future__ import annotations

import msgspec

from roost.log.content import Audio, File, Image, Message, Text, Thinking, ToolCall, Video
from roost.models.request import Request

MEDIA = 1_500
"""Tokens of an image or another file, for estimates that must not be too low."""
_MEDIA = 1_000
_PER_MESSAGE = 4
_WIDE = bytes(range(0xE3, 0xF5))
"""First UTF-8 bytes of characters from U+3000 on."""
_FOREIGN = bytes(range(0xC2, 0xF5))
"""First UTF-8 bytes of non-ASCII characters."""


def estimate_text(text: str) -> int:
    """Estimate tokens: 4 characters a token, 3 in other alphabets, 1 for CJK and similar. Takes about 2 ns a
    character."""
    if text.isascii():
        return len(text) // 4 + 1
    wide = _count(text, _WIDE)
    return wide + (len(text) - wide) // 3 + 1


def foreign(text: str) -> int:
    """Count the characters that are not ASCII."""
    return 0 if text.isascii() else _count(text, _FOREIGN)


def _count(text: str, firsts: bytes) -> int:
    data = text.encode("utf-8", "surrogatepass")
    return len(data) - len(data.translate(None, firsts))


def estimate(message: Message, *, media: int = _MEDIA) -> int:
    """Estimate the tokens of a message. media: tokens of an image or another file."""
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
    """Estimate the tokens of everything that is sent."""
    texts = (request.instruction, *request.context, *request.constraints, request.output_hint or "")
    total = sum(map(estimate_text, texts)) + sum(estimate(message, media=media) for message in request.messages)
    shapes = [request.tools, request.output_schema] if request.tools or request.output_schema else []
    return total + (len(msgspec.json.encode(shapes)) // 4 if shapes else 0)


def margin(tokens: int) -> int:
    """Add a third, for estimates that must not be too low."""
    return -(-tokens * 4 // 3)
