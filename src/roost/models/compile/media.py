"""Media in a conversation, for families with vision."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence

import msgspec

from roost.log.content import (
    AssistantMessage,
    Audio,
    File,
    Image,
    Media,
    Message,
    Text,
    ToolMessage,
    UserMessage,
    Video,
)
from roost.models.compile.shape import fenced
from roost.models.profile import MediaKind, Profile

Part = Text | Media
Outer = UserMessage | ToolMessage

_TEXT_TYPES = frozenset({"json", "xml", "yaml", "x-yaml", "toml", "javascript", "x-ndjson", "sql", "x-sh"})
_KINDS: dict[type, MediaKind] = {Image: "image", Audio: "audio", Video: "video", File: "file"}


def numbered(messages: Sequence[Message], profile: Profile) -> tuple[Message, ...]:
    """Put a number and name before each of the user's media that the model accepts: "[Image 2: page.png]".

    Media are counted per kind from the start of the conversation, so that numbers stay when it grows. Media that follow
    all text of their message move before it; media between text stay.
    """
    counts = dict.fromkeys(_KINDS.values(), 0)

    def label(part: Part) -> tuple[Part, ...]:
        if isinstance(part, Text) or not profile.takes(kind := _KINDS[type(part)]):
            return (part,)
        counts[kind] += 1
        name = f": {part.name}" if part.name else ""
        return Text(f"[{kind.capitalize()} {counts[kind]}{name}]"), part

    return tuple(
        _with(message, _media_first(message.parts), label)
        if isinstance(message, UserMessage) and _has_media(message)
        else message
        for message in messages
    )


def in_full(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Replace text files that have data by their whole text. Data that is not valid UTF-8 stays a file."""
    return tuple(
        _with(message, message.parts, lambda part: (as_text(part),))
        if not isinstance(message, AssistantMessage) and _has_media(message)
        else message
        for message in messages
    )


def _has_media(message: Outer) -> bool:
    return not all(isinstance(part, Text) for part in message.parts)


def _with(message: Outer, parts: Sequence[Part], change: Callable[[Part], tuple[Part, ...]]) -> Outer:
    return msgspec.structs.replace(message, parts=tuple(new for part in parts for new in change(part)))


def _media_first(parts: Sequence[Part]) -> Sequence[Part]:
    plain = [isinstance(part, Text) for part in parts]
    if plain != sorted(plain, reverse=True):
        return parts
    return [
        *(part for part in parts if not isinstance(part, Text)),
        *(part for part in parts if isinstance(part, Text)),
    ]


def as_text(part: Part) -> Part:
    """Return a text file that has data as that text; any other part unchanged."""
    if not isinstance(part, File) or not part.data or not _is_text(part.media_type):
        return part
    try:
        text = base64.b64decode(part.data, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return part
    return Text(f"## {part.name or 'A file'}, in full\n\n{fenced('file', text)}")


def _is_text(media_type: str) -> bool:
    kind, _, rest = media_type.partition(";")[0].strip().lower().partition("/")
    return kind == "text" or (kind == "application" and (rest in _TEXT_TYPES or rest.endswith(("+json", "+xml"))))
