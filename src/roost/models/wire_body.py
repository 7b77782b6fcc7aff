"""Helpers for the request bodies of all wires."""

from __future__ import annotations

import hashlib
import re
from typing import Any, TypeAlias, cast

import msgspec

from roost.log.content import Audio, File, Image, Media, Text, Video
from roost.models.profile import MediaKind, Profile

Json: TypeAlias = dict[str, Any]

MOST_TOKENS = 1_000_000_000
"""Limit of one call. A server that reports more, or a negative number, has miscounted."""
MUST_CALL = "Answer with a call of at least one of the tools, not with text."
"""Instruction for a model whose server does not support a forced call."""
_BAD_NAME = re.compile(r"[^A-Za-z0-9_-]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_KINDS: dict[type, MediaKind] = {Image: "image", Audio: "audio", Video: "video", File: "file"}


def encode(body: Json) -> bytes:
    """Encode as JSON. Text that UTF-8 cannot represent (lone surrogates) becomes U+FFFD."""
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        return msgspec.json.encode(clean(body))


def clean(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list | tuple):
        return [clean(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in cast("Json", value).items()}
    return value


def tool_name(name: str) -> str:
    """Return the name in a form that every provider accepts: 1 to 64 letters, digits, `_` and `-`."""
    return _BAD_NAME.sub("_", name)[:64] or "unnamed"


def call_id(call: str, accepted: re.Pattern[str]) -> str:
    """Return a call's id in a form that the protocol accepts; other providers' ids may have any letters and length."""
    if accepted.fullmatch(call):
        return call
    return "call_" + hashlib.sha256(call.encode("utf-8", "replace")).hexdigest()[:24]


def json_object(arguments: str) -> str:
    """Return `arguments` if it is a JSON object, else a JSON object that contains it as text."""
    if is_json_object(arguments):
        return arguments
    if not arguments.strip():
        return "{}"
    return msgspec.json.encode({"invalid_arguments": clean(arguments)}).decode()


def is_json_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (ValueError, RecursionError):
        return False


def in_words(schema: Json) -> str:
    """Return an instruction that states the schema, for a server that cannot enforce one."""
    text = msgspec.json.encode(clean(schema)).decode()
    return f"Answer with one JSON object that this JSON Schema allows, and with nothing else:\n{text}"


def closed(schema: Any) -> bool:
    """Whether strict servers accept the schema: every object closed, every property required."""
    if isinstance(schema, list):
        return all(map(closed, cast("list[Any]", schema)))
    if not isinstance(schema, dict):
        return True
    node = cast("Json", schema)
    if "properties" in node or node.get("type") == "object":
        properties = cast("Json", node.get("properties") or {})
        if node.get("additionalProperties") is not False or set(node.get("required") or ()) != set(properties):
            return False
        return all(map(closed, properties.values()))
    return all(map(closed, node.values()))


def kind_of(part: Media) -> MediaKind:
    return _KINDS[type(part)]


def takes(profile: Profile, part: Text | Media) -> bool:
    """Whether the model accepts this part in its own form."""
    return isinstance(part, Text) or profile.takes(kind_of(part))


def named(part: Media) -> str:
    """Return the text that replaces a part that the model cannot be sent."""
    name = f" {part.name!r}" if part.name else ""
    return f"[{kind_of(part)}{name}, {part.media_type}]"


def location(part: Media) -> str:
    """Return the URL, or a data URL."""
    return part.url or f"data:{part.media_type};base64,{part.data}"
