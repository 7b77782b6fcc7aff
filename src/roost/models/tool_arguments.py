"""Parse, repair and check the arguments of a tool call."""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any, cast

import msgspec

_CAP = 256 * 1024
"""Limit in characters for repairs."""
_DEPTH = 32
_FENCE = re.compile(r"^\s*```[a-zA-Z]*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)


def as_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that the text contains, None if it is not one."""
    try:
        value = msgspec.json.decode(text or "{}")
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def mend(text: str) -> str | None:
    """Return the JSON object that the text clearly means: inside a code fence, encoded twice, with commas before a
    closing bracket, with raw line breaks in strings, or written as a Python dict. Otherwise None. Never closes open
    brackets or strings."""
    if len(text) > _CAP:
        return None
    if fenced := _FENCE.match(text):
        text = fenced[1]
    for candidate in (text, _untwice(text), _tidy(text)):
        if candidate is not None and as_object(candidate) is not None:
            return candidate.strip()
    return _python(text.strip())


def _python(text: str) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            value: object = ast.literal_eval(text)
        encoded = msgspec.json.encode(value)
        # Sets, tuples, bytes and non-string keys have no JSON form.
        same = isinstance(value, dict) and msgspec.json.decode(encoded) == value
    except (ValueError, SyntaxError, TypeError, Warning, MemoryError, RecursionError, OverflowError):
        return None
    return encoded.decode() if same else None


def _untwice(text: str) -> str | None:
    try:
        return msgspec.json.decode(text, type=str)
    except (ValueError, RecursionError):
        return None


def _tidy(text: str) -> str:
    """Remove commas before closing brackets outside strings; escape raw control characters inside strings."""
    out: list[str] = []
    inside = escaped = False
    for char in text:
        if inside:
            out.append({"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char, char))
            inside = escaped or char != '"'
            escaped = char == "\\" and not escaped
            continue
        if char in "}]":
            place = len(out) - 1
            while place >= 0 and out[place].isspace():
                place -= 1
            if place >= 0 and out[place] == ",":
                del out[place]
        inside = char == '"'
        out.append(char)
    return "".join(out)


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def misfit(value: Any, schema: dict[str, Any]) -> str | None:
    """Return why `value` does not match the schema, with its path; None if it matches. Checks types, required and
    closed properties, enumerations, constants, items, `anyOf`, `oneOf` and local references; other JSON Schema keywords
    are ignored. A number or boolean given as a string passes: tools convert it."""
    definitions = cast("dict[str, Any]", schema.get("$defs") or schema.get("definitions") or {})
    return _misfit(value, schema, definitions, "arguments", 0)


def _misfit(value: Any, schema: Any, definitions: dict[str, Any], path: str, depth: int) -> str | None:
    if not isinstance(schema, dict) or depth > _DEPTH:
        return None
    rules = cast("dict[str, Any]", schema)
    if isinstance(reference := rules.get("$ref"), str):
        return _misfit(value, definitions.get(reference.rsplit("/", 1)[-1]), definitions, path, depth + 1)
    options = rules.get("anyOf") or rules.get("oneOf")
    if isinstance(options, list) and options:
        reasons = [_misfit(value, each, definitions, path, depth + 1) for each in cast("list[Any]", options)]
        if None not in reasons:
            return reasons[0]
    if "const" in rules and value != rules["const"]:
        return f"{path} must be {rules['const']!r}"
    if isinstance(rules.get("enum"), list) and value not in rules["enum"]:
        return f"{path} must be one of {rules['enum']!r}"
    if (wanted := _wanted(rules)) and not any(_is(value, kind) for kind in wanted):
        return f"{path} must be of type {' or '.join(wanted)}"
    if isinstance(value, dict):
        return _object_misfit(cast("dict[str, Any]", value), rules, definitions, path, depth)
    if isinstance(value, list) and "items" in rules:
        for place, item in enumerate(cast("list[Any]", value)):
            if what := _misfit(item, rules["items"], definitions, f"{path}[{place}]", depth + 1):
                return what
    return None


def _object_misfit(
    value: dict[str, Any], rules: dict[str, Any], definitions: dict[str, Any], path: str, depth: int
) -> str | None:
    properties = cast("dict[str, Any]", rules.get("properties") or {})
    if missing := [name for name in cast("list[str]", rules.get("required") or []) if name not in value]:
        return f"{path} lacks {', '.join(map(repr, missing))}"
    if rules.get("additionalProperties") is False and (more := [name for name in value if name not in properties]):
        return f"{path} has {', '.join(map(repr, more))}, which the tool does not know"
    for name, item in value.items():
        if name in properties and (what := _misfit(item, properties[name], definitions, f"{path}.{name}", depth + 1)):
            return what
    return None


def _wanted(rules: dict[str, Any]) -> list[str]:
    kind = rules.get("type")
    kinds = cast("list[Any]", kind) if isinstance(kind, list) else [kind]
    return [each for each in kinds if isinstance(each, str) and each in _TYPES]


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    if kind in ("integer", "number", "boolean") and isinstance(value, str):
        return True
    return isinstance(value, _TYPES[kind])
