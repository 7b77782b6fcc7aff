"""The tools and the form of the answer that a client asks for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from roost.errors import Invalid
from roost.models.request import ToolChoice, ToolSpec

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _JsonSchema(msgspec.Struct):
    schema: dict[str, Any]


def tool_specs(given: list[dict[str, Any]] | None) -> tuple[ToolSpec, ...]:
    """Return the functions among a client's tools; tools that OpenAI runs itself are left out. Raises `Invalid`."""
    tools = enumerate(given or [])
    return functions(
        [(f"tools[{at}].function", one.get("function")) for at, one in tools if one.get("type") == "function"]
    )


def functions(given: Sequence[tuple[str, Any]]) -> tuple[ToolSpec, ...]:
    """Return functions by their definitions, each with its place in the request. Raises `Invalid`."""
    found: dict[str, ToolSpec] = {}
    for where, one in given:
        try:
            function = msgspec.convert(one, _Function)
        except msgspec.ValidationError as error:
            raise Invalid(f"{where}: {error}") from None
        if not _NAME.fullmatch(function.name):
            raise Invalid(f"{where}.name: use letters, digits, _ and - (at most 64)")
        if function.name in found:
            raise Invalid(f"{where}: two tools are called {function.name!r}")
        schema = function.parameters or {"type": "object", "properties": {}}
        found[function.name] = ToolSpec(function.name, function.description or "", schema)
    return tuple(found.values())


def chosen_tools(
    given: str | dict[str, Any] | None, tools: tuple[ToolSpec, ...]
) -> tuple[ToolChoice, tuple[ToolSpec, ...]]:
    """Return whether the next answer must call a tool, and the tools that it may call. Raises `Invalid`."""
    if isinstance(given, dict):
        function: Any = given.get("function")
        name = cast("dict[str, Any]", function).get("name") if isinstance(function, dict) else None
        if not (one := tuple(tool for tool in tools if tool.name == name)):
            raise Invalid("tool_choice: name a function of tools, as {'type': 'function', 'function': {'name': ...}}")
        return "required", one
    if given in ("none", "required"):
        return given, tools
    if given not in (None, "auto"):
        raise Invalid(f"tool_choice: {given!r} is none of auto, none, required, or a function")
    return "auto", tools


def response_schema(given: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the JSON Schema that the answer must fit; None for any text. Raises `Invalid`."""
    kind = "text" if given is None else given.get("type")
    if given is None or kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    if kind != "json_schema":
        raise Invalid(f"response_format.type: {kind!r} is none of text, json_object, json_schema")
    try:
        return msgspec.convert(given.get("json_schema"), _JsonSchema).schema
    except msgspec.ValidationError as error:
        raise Invalid(f"response_format.json_schema: {error}") from None
