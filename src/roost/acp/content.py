"""Content blocks of the protocol, and the parts of messages that they become."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import unquote, urlsplit

from roost.acp.shapes import AudioBlock, Block, Contents, ImageBlock, LinkBlock, TextBlock
from roost.errors import Invalid
from roost.log.content import AssistantPart, Audio, File, Image, ResultPart, Text, UserPart


def parts_of(blocks: list[Block]) -> list[UserPart]:
    """Return the message of a prompt. Raises `Invalid` for media that no model could be sent."""
    return [_checked(_part(block)) for block in blocks]


def _checked(part: UserPart) -> UserPart:
    if not isinstance(part, Text):
        try:
            fine = bool(base64.b64decode(part.data, validate=True))
        except ValueError:
            fine = False
        if not fine:
            raise Invalid(f"prompt: the data of {part.media_type[:80]!r} is not base64, or empty")
    return part


def _part(block: Block) -> UserPart:
    match block:
        case TextBlock():
            return Text(block.text)
        case ImageBlock():
            return Image(block.mime_type, block.data)
        case AudioBlock():
            return Audio(block.mime_type, block.data)
        case LinkBlock():
            return Text(f"[@{block.name or name_of(block.uri)}]({block.uri})")
        case _:
            return _resource(block.resource)


def _resource(contents: Contents) -> UserPart:
    name = name_of(contents.uri)
    if contents.text is None:
        kind = contents.mime_type or "application/octet-stream"
        return (Image if kind.startswith("image/") else File)(kind, contents.blob or "", name=name)
    return Text(f'<resource uri="{contents.uri}">\n{contents.text}\n</resource>')


def name_of(uri: str) -> str:
    """Return the last part of a URI's path."""
    try:
        return unquote(urlsplit(uri).path.rstrip("/").rpartition("/")[2]) or uri
    except ValueError:
        return uri


def block_of(part: UserPart | AssistantPart | ResultPart) -> dict[str, Any]:
    """Return a part of a message as a content block."""
    match part:
        case Image() if part.data:
            return {"type": "image", "data": part.data, "mimeType": part.media_type}
        case Audio() if part.data:
            return {"type": "audio", "data": part.data, "mimeType": part.media_type}
        case Text():
            return text(part.text)
        case _:
            return text(f"[{getattr(part, 'name', None) or getattr(part, 'media_type', 'part')}]")


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def fenced(value: str) -> str:
    """Return text as a block of code in Markdown, whatever it contains."""
    longest = run = 0
    for character in value:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{value.rstrip()}\n{fence}"
