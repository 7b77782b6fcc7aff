"""The grammar of one step: a call of one of the tools, or an answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, cast

from roost.models.request import Request, ToolSpec

LOOKS = frozenset({"list_files", "glob", "grep", "read_file"})
CALCULATE = "calculate"
LABELS = {
    "files": "what only the user's own files can tell: names, places, dates, prices, numbers of the user's people, "
    "things and projects; anything about a file",
    "order": "an order to make or change a file, or to run a command",
    "calculator": "a sum",
    "knowledge": "what an encyclopedia or a dictionary tells",
    "clock": "the time or the date now",
    "chat": "small talk",
}
"""Where an answer comes from, in the words of the prompt. The first step of a turn begins with one of these."""
ANSWERED = frozenset({"knowledge", "clock", "chat"})
"""Those that need no tool."""
_KEPT = ("type", "enum", "const", "minimum", "maximum", "minItems", "maxItems")
_DEPTH = 8


def label_of(tool: str) -> str:
    """The origin that a call of this tool stands for."""
    return "files" if tool in LOOKS else "calculator" if tool == CALCULATE else "order"


def labels(request: Request) -> tuple[str, ...]:
    """Return the labels that this agent's tools allow, in the order of the prompt."""
    there = {label_of(tool.name) for tool in request.tools} | ANSWERED
    return tuple(label for label in LABELS if label in there)


def step_schema(request: Request, *, only: Collection[str] | None = None) -> dict[str, Any] | None:
    """Return the JSON Schema of the next step; None when the model may write plain text. `only`: the labels that the
    step may begin with; None for a step without a label, as after a result."""
    answer = simplify(request.output_schema) if request.output_schema else {"type": "string"}
    if not request.tools:
        return answer if request.output_schema else None
    steps = [] if request.tool_choice == "none" else [_step(tool, only) for tool in request.tools]
    if request.tool_choice != "required":
        answered = (
            None if only is None else {"enum": [label for label in LABELS if label in only and label in ANSWERED]}
        )
        steps.append(_labelled(answered, {"answer": answer}))
    allowed = [step for step in steps if step is not None]
    return allowed[0] if len(allowed) == 1 else {"anyOf": allowed}


def _step(tool: ToolSpec, only: Collection[str] | None) -> dict[str, Any] | None:
    label = label_of(tool.name)
    if only is not None and label not in only:
        return None
    arguments = simplify({"type": "object"} | tool.schema | {"properties": offered(tool.schema)})
    return _labelled(None if only is None else {"const": label}, {"tool": {"const": tool.name}, "args": arguments})


def _labelled(label: dict[str, Any] | None, properties: dict[str, Any]) -> dict[str, Any] | None:
    """None where no label is allowed for it."""
    if label == {"enum": []}:
        return None
    named = properties if label is None else {"from": label, **properties}
    return _closed(named, list(named))


def offered(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the arguments that a small model is shown: the required ones, or without any those of a plain string type.
    The model fills in every argument that it sees."""
    properties = cast("dict[str, dict[str, Any]]", schema.get("properties") or {})
    required = schema.get("required") or [name for name, value in properties.items() if value.get("type") == "string"]
    return {name: value for name, value in properties.items() if name in required}


def _closed(properties: dict[str, Any], required: Sequence[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def simplify(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a schema that constrained decoding supports. References are resolved, keywords about values
    (titles, patterns, formats) dropped, and objects closed. The result is looser than the tool's schema, except that it
    refuses unknown properties."""
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
