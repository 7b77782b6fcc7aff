"""The grammar of one step: a call of one of the tools, or an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from roost.llm.ir import Request, ToolSpec

_KEPT = ("type", "enum", "const", "minimum", "maximum", "minItems", "maxItems")
_DEPTH = 8


def step_schema(request: Request) -> dict[str, Any] | None:
    """The JSON Schema that the next step must match; None when the model may write plain text."""
    answer = simplify(request.output_schema) if request.output_schema else {"type": "string"}
    if not request.tools:
        return answer if request.output_schema else None
    steps = [] if request.tool_choice == "none" else [_call(tool) for tool in request.tools]
    if request.tool_choice != "required":
        steps.append(_closed({"answer": answer}, ["answer"]))
    return steps[0] if len(steps) == 1 else {"anyOf": steps}


def offered(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The arguments that a small model is shown: the required ones, or when there are none those of a plain string
    type. It fills in whatever else it sees, needed or not."""
    properties = cast("dict[str, dict[str, Any]]", schema.get("properties") or {})
    required = schema.get("required") or [name for name, value in properties.items() if value.get("type") == "string"]
    return {name: value for name, value in properties.items() if name in required}


def _call(tool: ToolSpec) -> dict[str, Any]:
    arguments = simplify({"type": "object"} | tool.schema | {"properties": offered(tool.schema)})
    return _closed({"tool": {"const": tool.name}, "args": arguments}, ["tool", "args"])


def _closed(properties: dict[str, Any], required: Sequence[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def simplify(schema: dict[str, Any]) -> dict[str, Any]:
    """The part of a schema that constrained decoding can hold to. References are written out, words about values
    (titles, patterns, formats) are dropped, objects are closed. What stays is looser than the tool's own schema, never
    stricter, except that unknown properties are refused."""
    definitions = cast("dict[str, Any]", schema.get("$defs") or schema.get("definitions") or {})
    return _simplify(schema, definitions, 0)


def _simplify(schema: Any, definitions: dict[str, Any], depth: int) -> dict[str, Any]:
    if not isinstance(schema, dict) or depth > _DEPTH:
        return {}
    source = cast("dict[str, Any]", schema)
    if isinstance(reference := source.get("$ref"), str):
        return _simplify(definitions.get(reference.rsplit("/", 1)[-1]), definitions, depth + 1)
    options = source.get("anyOf") or source.get("oneOf")
    if isinstance(options, list) and options:
        return {"anyOf": [_simplify(option, definitions, depth + 1) for option in cast("list[Any]", options)]}
    kept = {key: source[key] for key in _KEPT if key in source}
    if "items" in source:
        kept["items"] = _simplify(source["items"], definitions, depth + 1)
    properties = source.get("properties")
    if isinstance(properties, dict):
        named = cast("dict[str, Any]", properties)
        kept["properties"] = {name: _simplify(value, definitions, depth + 1) for name, value in named.items()}
        kept["required"] = [name for name in source.get("required", ()) if name in named]
        kept["additionalProperties"] = False
    elif kept.get("type") == "object" and isinstance(source.get("additionalProperties"), dict):
        kept["additionalProperties"] = _simplify(source["additionalProperties"], definitions, depth + 1)
    elif kept.get("type") == "object" and "additionalProperties" not in source and depth == 0:
        kept["additionalProperties"] = False
    return kept
