"""What a server asks in the middle of a call, as a question to a person, and the person's answer as the server
takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roost.features.mcp.catalog import clean
from roost.features.mcp.messages import Json, as_list, as_object

_MESSAGE = 1000
_FIELDS = 20


def shown(server: str, wants: Mapping[str, Json]) -> str:
    """Return the question for a person. All of it but the first words comes from the server."""
    parts = [_one(want) for want in wants.values()]
    return f"the MCP server {server!r} asks: " + "; ".join(parts)


def _one(want: Json) -> str:
    text = _short(want.get("message"), _MESSAGE)
    if want.get("mode") == "url":
        return f"{text} Open {_short(want.get('url'), _MESSAGE)} and then approve"
    properties = as_object(as_object(want.get("requestedSchema")).get("properties"))
    fields = ", ".join(_field(name, as_object(found)) for name, found in list(properties.items())[:_FIELDS])
    return f"{text} (fields: {fields}; answer with modified arguments, or approve for the defaults)" if fields else text


def _field(name: str, found: Json) -> str:
    choices = [str(one) for one in as_list(found.get("enum"))]
    kind = "|".join(choices) if choices else str(found.get("type", "string"))
    default = f"={found['default']}" if "default" in found else ""
    return _short(f"{name}: {kind}{default}", 200)


def _short(value: object, most: int) -> str:
    text = " ".join(clean(value).split()) if isinstance(value, str) else ""
    return text if len(text) <= most else text[:most] + "…"


def accepted(want: Json, content: Json | None) -> Json:
    """Return the answer of a person who accepts. content: what the person filled in; None leaves the defaults."""
    if want.get("mode") == "url":
        return {"action": "accept"}
    properties = as_object(as_object(want.get("requestedSchema")).get("properties"))
    defaults: dict[str, Any] = {
        name: as_object(found)["default"] for name, found in properties.items() if "default" in as_object(found)
    }
    known = {name: value for name, value in (content or {}).items() if name in properties}
    return {"action": "accept", "content": {**defaults, **known}}


def missing(wants: Mapping[str, Json], content: Json | None) -> list[str]:
    """Return the fields that an answer must have and does not."""
    found: list[str] = []
    for want in wants.values():
        schema = as_object(want.get("requestedSchema"))
        given = as_object(accepted(want, content).get("content"))
        found += [str(name) for name in as_list(schema.get("required")) if name not in given]
    return found
