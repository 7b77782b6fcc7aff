"""The result of a tool as the model reads it."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import msgspec

from roost.features.mcp.catalog import clean
from roost.features.mcp.messages import Json, as_list, as_object
from roost.log.content import Audio, File, Image, ResultPart, Text
from roost.tools.base import ToolResult

_MEDIA = 5 * 1024 * 1024
_PARTS = 100
_KINDS: dict[str, type[Image] | type[Audio]] = {"image": Image, "audio": Audio}


def result_of_call(result: Json, scrub: Callable[[str], str]) -> ToolResult:
    """Return the result of a call. scrub: masks the token with which the server was called."""
    parts = [part for one in as_list(result.get("content"))[:_PARTS] if (part := _part(as_object(one))) is not None]
    structured = result.get("structuredContent")
    if structured is not None and not any(isinstance(part, Text) for part in parts):
        parts.append(Text(clean(msgspec.json.encode(structured).decode())))
    masked = [Text(scrub(part.text)) if isinstance(part, Text) else part for part in parts]
    return ToolResult(tuple(masked), error=result.get("isError") is True)


def _part(found: Json) -> ResultPart | None:
    match found.get("type"):
        case "text":
            return Text(clean(str(found.get("text", ""))))
        case "image" | "audio" as kind:
            return _media(_KINDS[kind], found.get("mimeType"), found.get("data"))
        case "resource":
            return _resource(as_object(found.get("resource")))
        case "resource_link":
            said = (found.get("title") or found.get("name"), found.get("uri"), found.get("description"))
            return Text(clean("[resource] " + " · ".join(str(one) for one in said if one)))
        case kind:
            return Text(f"[content of the unknown type {clean(str(kind))[:80]!r}]")


def _resource(found: Json) -> ResultPart | None:
    if isinstance(found.get("text"), str):
        return Text(clean(f"[{found.get('uri', 'resource')}]\n{found['text']}"))
    media = str(found.get("mimeType") or "application/octet-stream")
    kind = _KINDS.get(media.partition("/")[0], File)
    return _media(kind, media, found.get("blob"), name=str(found.get("uri", "")).rpartition("/")[2] or None)


def _media(kind: Any, media: object, data: object, *, name: str | None = None) -> ResultPart:
    if not isinstance(data, str) or len(data) > _MEDIA * 4 // 3 + 4:
        return Text(f"[{kind.__name__.lower()} without data, or larger than {_MEDIA // 1024**2} MB]")
    try:
        b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return Text(f"[{kind.__name__.lower()} whose data is not Base64]")
    media_type = media if isinstance(media, str) and 2 < len(media) < 100 else "application/octet-stream"
    return kind(media_type=clean(media_type), data=data, name=None if name is None else clean(name)[:200])
