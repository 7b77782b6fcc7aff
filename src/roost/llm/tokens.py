"""How many tokens a message is, roughly. The provider's own count is the truth; this one is for planning ahead."""

from __future__ import annotations

from roost.log.content import Audio, File, Image, Message, Text, Thinking, ToolCall, Video

_MEDIA = 1_000
_PER_MESSAGE = 4


def estimate_text(text: str) -> int:
    """About 4 characters a token, about 1 for text that is not ASCII (CJK and its like)."""
    if text.isascii():
        return len(text) // 4 + 1
    wide = sum(1 for char in text if char > "\u2e7f")
    return wide + (len(text) - wide) // 3 + 1


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
