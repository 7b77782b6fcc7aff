"""Convert a JSON schema to the dialect of Gemini."""

from __future__ import annotations

from typing import Any, cast

from roost.models.wire_body import Json

KEPT = {
    "$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items", "prefixItems",
    "minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties", "additionalProperties", "required",
}  # fmt: skip
"""Keywords of `parametersJsonSchema` and `responseJsonSchema`, by the reference of `GenerationConfig`."""
_NAMED = ("properties", "$defs")
_LISTS = ("anyOf", "oneOf", "prefixItems")


def fitted(schema: Any) -> Any:
    """Return `schema` without the keywords that Gemini refuses. The result allows at least everything that `schema`
    allows: unsupported restrictions are dropped, and the parts of `allOf` are merged as far as they are object
    fields."""
    if not isinstance(schema, dict):
        return {} if schema is True else schema
    node = _renamed(cast("Json", schema))
    if "$ref" in node:
        # Beside a reference only definitions are allowed.
        return {key: _fit(key, value) for key, value in node.items() if key in ("$ref", "$defs", "$id", "$anchor")}
    return {key: _fit(key, value) for key, value in node.items() if key in KEPT and _fine(key, value)}


def _renamed(node: Json) -> Json:
    node = dict(node)
    if "definitions" in node:
        node["$defs"] = {**node.pop("definitions"), **node.get("$defs", {})}
    if isinstance(ref := node.get("$ref"), str):
        node["$ref"] = ref.replace("#/definitions/", "#/$defs/", 1)
    if "const" in node:
        node["enum"] = [node.pop("const")]
    for part in node.pop("allOf", ()):
        if isinstance(part, dict):
            node = _merged(node, _renamed(cast("Json", part)))
    return node


def _merged(node: Json, more: Json) -> Json:
    both = {**more, **node}
    if "properties" in node and "properties" in more:
        both["properties"] = {**more["properties"], **node["properties"]}
    if "required" in node and "required" in more:
        both["required"] = list(dict.fromkeys([*node["required"], *more["required"]]))
    return both


def _fine(key: str, value: Any) -> bool:
    if key == "enum":
        # Only strings and numbers are allowed.
        return isinstance(value, list) and all(
            isinstance(item, str | int | float) and not isinstance(item, bool) for item in cast("list[Any]", value)
        )
    return True


def _fit(key: str, value: Any) -> Any:
    if key in _NAMED and isinstance(value, dict):
        return {name: fitted(inner) for name, inner in cast("Json", value).items()}
    if key in _LISTS and isinstance(value, list):
        return [fitted(inner) for inner in cast("list[Any]", value)]
    if key == "items":
        return fitted(value)
    if key == "additionalProperties":
        return value if isinstance(value, bool) else fitted(value)
    return value
