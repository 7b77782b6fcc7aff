"""The tools that a server lists: cut, cleaned, and named by a digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec

from roost.agent.servers import MARK
from roost.features.mcp.era import wrong_headers
from roost.features.mcp.messages import Json, as_list, as_object

MOST = 2000
"""Tools of one server."""
_NAME = 128
_DESCRIPTION = 4096
_SCHEMA = 64 * 1024
_WHOLE = 900_000
"""Bytes of a catalog, which a document must hold."""
_UNSEEN = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]"
)
"""Control characters, and those that a person does not see and a model reads."""
_PREFIX = 64


class ServerTool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool as its server lists it. schema: of its arguments. hints: what the server says of its effects."""

    name: str
    description: str = ""
    schema: Json = {}
    hints: dict[str, bool] = {}

    @property
    def digest(self) -> str:
        return hashlib.blake2b(_encoder.encode(self), digest_size=12).hexdigest()


class Catalog(msgspec.Struct, frozen=True, omit_defaults=True):
    """The tools of a server. dropped: why some are not among them."""

    tools: tuple[ServerTool, ...]
    dropped: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Names its content."""
        return hashlib.blake2b(_encoder.encode(self.tools), digest_size=16).hexdigest()

    def by_name(self) -> Mapping[str, ServerTool]:
        return {tool.name: tool for tool in self.tools}


_encoder = msgspec.json.Encoder(order="sorted")
encode_catalog = _encoder.encode
decode_catalog = msgspec.json.Decoder(Catalog).decode


def catalog_of(found: Sequence[Any]) -> Catalog:
    """Return the catalog of what a server listed. A tool that cannot be used is left out."""
    tools: dict[str, ServerTool] = {}
    dropped: list[str] = []
    size = 0
    for raw in found:
        said = as_object(raw)
        name = said.get("name")
        if not isinstance(name, str) or not 0 < len(name) <= _NAME or clean(name) != name:
            dropped.append("a tool without a usable name")
            continue
        why = _unusable(said) or ("its name is listed twice" if name in tools else None)
        tool = ServerTool(name, _text(said), _schema(said), _hints(said))
        size += len(_encoder.encode(tool))
        if why is None and (len(tools) >= MOST or size > _WHOLE):
            why = "the server lists more than it may"
        if why is None:
            tools[name] = tool
        else:
            dropped.append(f"{name}: {why}")
    return Catalog(tuple(tools.values()), tuple(dropped[:20]))


def clean(text: str) -> str:
    """Remove what a person would not see."""
    return _UNSEEN.sub("", text)


def offered_names(server: str, tools: Iterable[str]) -> dict[str, str]:
    """Return the name `SERVER__TOOL` under which each tool is offered: one that every provider takes, without
    collision, and the same whatever else the server lists."""
    found: dict[str, str] = {}
    taken = set[str]()
    for tool in sorted(tools):
        plain = re.sub(r"[^A-Za-z0-9_-]", "_", tool)
        name = f"{server}{MARK}{plain}"
        if plain != tool or len(name) > _PREFIX or name in taken:
            mark = hashlib.blake2b(tool.encode(), digest_size=4).hexdigest()
            name = f"{name[: _PREFIX - len(mark) - 1]}_{mark}"
        taken.add(name)
        found[tool] = name
    return found


def _unusable(said: Mapping[str, Any]) -> str | None:
    schema = as_object(said.get("inputSchema"))
    if schema.get("type") != "object":
        return "its arguments are no object"
    if len(_encoder.encode(schema)) > _SCHEMA:
        return "the schema of its arguments is too large"
    if not _sound(schema):
        return "the schema of its arguments is no JSON Schema"
    return wrong_headers(schema)


def _sound(schema: object) -> bool:
    """Whether the parts of a schema that providers read have the right types: they refuse a whole request for one."""
    if not isinstance(schema, dict):
        return isinstance(schema, bool)
    found = as_object(cast("object", schema))
    for name, kind in (("properties", dict), ("required", list), ("anyOf", list), ("oneOf", list), ("allOf", list)):
        if not isinstance(found.get(name, kind()), kind):
            return False
    items: object = found.get("items", True)
    below = [*as_object(found.get("properties")).values(), *(as_list(items) or [items])]
    below += [one for name in ("anyOf", "oneOf", "allOf") for one in as_list(found.get(name))]
    return all(isinstance(name, str) for name in as_list(found.get("required"))) and all(map(_sound, below))


def _text(said: Mapping[str, Any]) -> str:
    found = said.get("description") or said.get("title") or ""
    text = clean(found) if isinstance(found, str) else ""
    return text if len(text) <= _DESCRIPTION else text[:_DESCRIPTION] + "…"


def _hints(said: Mapping[str, Any]) -> dict[str, bool]:
    hints = as_object(said.get("annotations"))
    known = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
    return {name: hints[name] for name in known if isinstance(hints.get(name), bool)}


def _schema(said: Mapping[str, Any]) -> Json:
    """Return the schema with its texts cleaned. No reference in it is ever followed."""
    return as_object(_cleaned(said.get("inputSchema")))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if items := as_list(value):
        return [_cleaned(one) for one in items]
    if fields := as_object(value):
        return {name: _cleaned(one) for name, one in fields.items()}
    return value
