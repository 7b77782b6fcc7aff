"""A JSON schema in the dialect that Gemini reads."""

from __future__ import annotations

from typing import Any, cast

from roost.models.wire_body import Json

KEPT = {
    "$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items", "prefixItems",
    "minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties", "additionalProperties", "required",
}  # fmt: skip
"""What `parametersJsonSchema` and `responseJsonSchema` take, by the reference of `GenerationConfig`."""
_NAMED = ("properties", "$defs")
_LISTS = ("anyOf", "oneOf", "prefixItems")


def fitted(schema: Any) -> Any:
    """`schema` without what Gemini refuses. It allows at least all that `schema` allows: a restriction that has no
    place is left out, and of `allOf` the parts are merged as far as they are objects' fields."""
    if not isinstance(schema, dict):
        return {} if schema is True else schema
    node = _renamed(cast("Json", schema))
    if "$ref" in node:
        # Nothing may stand beside a reference but definitions.
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
        # Of strings and of numbers alone.
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
