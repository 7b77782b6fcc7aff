"""Turn the schemas of a document into schemas that all providers accept.

No references, no `allOf`; recursion and depth are cut; names of properties that a provider refuses get others. The
result allows at least what the document allows: restrictions that some provider refuses are dropped or told in the
description."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from roost.features.openapi.document import Json, References, Unusable, as_list, as_object, as_text
from roost.tools.text_limits import clean

_DEPTH = 7
_NODES = 350
"""Most schemas of one operation. What is behind is any value."""
_VARIANTS = 8
_ENUM = 60
_TEXT = 180
_KEPT = ("format", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems")
_TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}
_LEGAL = re.compile(r"[A-Za-z0-9_.-]{1,64}")
NULL: Json = {"type": "null"}


class Schemas:
    """Convert the schemas of one operation. renamed: names of properties in the result that are others in the document,
    with these."""

    def __init__(self, references: References) -> None:
        self._references = references
        self._left = _NODES
        self.renamed: dict[str, str] = {}
        self._own: set[str] = set()
        """Names that stay as they are somewhere in the operation."""

    def fit(self, schema: object, *, depth: int = 0, within: tuple[str, ...] = ()) -> Json:
        """Return the schema to send. within: references that are being followed."""
        self._left -= 1
        node, within = self._followed(schema, within)
        if node is None:
            return {"description": "nested again, in the same form as above"}
        if self._left <= 0 or depth > _DEPTH:
            return _described({}, node)
        node = self._merged(node, within)
        variants = [as_object(one) for one in as_list(node.get("oneOf")) or as_list(node.get("anyOf"))]
        if variants:
            return self._one_of(node, variants, depth, within)
        return self._plain(node, depth, within)

    def _followed(self, schema: object, within: tuple[str, ...]) -> tuple[Json | None, tuple[str, ...]]:
        """Follow references. Returns None for one that is inside itself."""
        node = as_object(schema)
        while isinstance(pointer := node.get("$ref"), str):
            if pointer in within or len(within) > 64:
                return None, within
            within = (*within, pointer)
            beside = {name: value for name, value in node.items() if name != "$ref"}
            node = {**as_object(self._references.at(pointer)), **beside}
        return node, within

    def _merged(self, node: Json, within: tuple[str, ...]) -> Json:
        """Merge the parts of `allOf` into one schema."""
        parts = as_list(node.get("allOf"))
        if not parts:
            return node
        whole = {name: value for name, value in node.items() if name != "allOf"}
        for part in parts[:32]:
            self._left -= 1
            found, inner = self._followed(part, within)
            if found is None or self._left <= 0:
                continue
            found = self._merged(found, inner)
            whole = {**found, **whole, **_joined(found, whole)}
        return whole

    def _one_of(self, node: Json, variants: list[Json], depth: int, within: tuple[str, ...]) -> Json:
        base = {name: value for name, value in node.items() if name not in ("oneOf", "anyOf", "discriminator")}
        nullable = bool(base.pop("nullable", False))
        fitted: list[Json] = []
        for one in variants[:_VARIANTS]:
            if one.get("type") == "null" or one.get("enum") == [None]:
                nullable = True
                continue
            both = {**base, "allOf": [one]} if "properties" in base or "required" in base else one
            found = self.fit(both, depth=depth + 1, within=within)
            if found not in fitted:
                fitted.append(found)
        only_words = [one for one in fitted if one.get("type") == "string" and "enum" in one]
        if fitted and len(only_words) == len(fitted):
            words = dict.fromkeys(word for one in fitted for word in one["enum"])
            fitted = [{"type": "string", "enum": [*words][:_ENUM]}]
        return _described(_either([*fitted, *([NULL] if nullable else [])]), node)

    def _plain(self, node: Json, depth: int, within: tuple[str, ...]) -> Json:
        kinds, nullable = _kinds(node)
        if len(kinds) > 1:
            forms = [self._typed(node, kind, depth, within) for kind in kinds]
            return _described(_either([*forms, *([NULL] if nullable else [])]), node)
        found = self._typed(node, kinds[0] if kinds else None, depth, within)
        return _described(_either([found, NULL]) if nullable and found else found, node)

    def _typed(self, node: Json, kind: str | None, depth: int, within: tuple[str, ...]) -> Json:
        found: Json = {} if kind is None else {"type": kind}
        values = [node["const"]] if "const" in node else as_list(node.get("enum"))
        values = [value for value in values if value is not None and _fits(value, kind)]
        if values and len(values) <= _ENUM and all(isinstance(one, str) for one in values):
            found |= {"type": "string", "enum": [clean(one) for one in dict.fromkeys(cast("list[str]", values))]}
        if kind == "array":
            found["items"] = self.fit(node.get("items") or {}, depth=depth + 1, within=within)
        if kind == "object":
            found |= self._object(node, depth, within)
        limits = {name: node[name] for name in _KEPT if name in node and _is_limit(name, node[name])}
        return {**found, **limits} if kind is not None and "enum" not in found else found

    def _object(self, node: Json, depth: int, within: tuple[str, ...]) -> Json:
        properties: Json = {}
        required = {one for one in as_list(node.get("required")) if isinstance(one, str)}
        must: list[str] = []
        for name, schema in as_object(node.get("properties")).items():
            if self._left <= 0 or as_object(schema).get("readOnly") is True:
                continue
            shown = self.legal(name, properties)
            properties[shown] = self.fit(schema, depth=depth + 1, within=within)
            must += [shown] if name in required else []
        found: Json = {"properties": properties, **({"required": must} if must else {})}
        more = node.get("additionalProperties")
        if not properties and isinstance(more, dict) and more:
            found["additionalProperties"] = self.fit(cast("Json", more), depth=depth + 1, within=within)
        return found

    def legal(self, name: str, taken: Mapping[str, Any]) -> str:
        """Return a name of a property that every provider takes, and that differs from those taken."""
        if _LEGAL.fullmatch(name) and name not in taken and name not in self.renamed:
            self._own.add(name)
            return name
        base = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_")[:56] or "field"
        shown, number = base, 2
        while shown in taken or shown in self._own or self.renamed.get(shown, name) != name:
            shown, number = f"{base}_{number}", number + 1
        self.renamed[shown] = name
        return shown


def _joined(one: Json, other: Json) -> Json:
    found: Json = {}
    if "properties" in one and "properties" in other:
        found["properties"] = {**as_object(one["properties"]), **as_object(other["properties"])}
    if "required" in one and "required" in other:
        names = [name for part in (one, other) for name in as_list(part["required"]) if isinstance(name, str)]
        found["required"] = [*dict.fromkeys(names)]
    return found


def _either(forms: list[Json]) -> Json:
    if len(forms) == 1:
        return forms[0]
    return {"anyOf": forms} if forms and {} not in forms else {}


def _kinds(node: Json) -> tuple[list[str], bool]:
    """Return the types that a schema allows, without null, and whether it allows null."""
    given = node.get("type")
    listed: Iterable[Any] = cast("list[Any]", given) if isinstance(given, list) else [given]
    kinds = list(dict.fromkeys(one for one in listed if isinstance(one, str) and one in _TYPES))
    if given == "file":
        kinds = ["string"]
    nullable = node.get("nullable") is True or "null" in kinds
    kinds = [one for one in kinds if one != "null"]
    if not kinds:
        if "properties" in node or "additionalProperties" in node:
            kinds = ["object"]
        elif "items" in node:
            kinds = ["array"]
    return kinds, nullable


def _fits(value: Any, kind: str | None) -> bool:
    return kind in (None, "string") and isinstance(value, str) and 0 < len(value) <= 200


def _is_limit(name: str, value: Any) -> bool:
    if name == "format":
        return isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z0-9_-]{1,30}", value))
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and (name in ("minimum", "maximum") or (isinstance(value, int) and 0 <= value < 2**31))


def _described(found: Json, node: Json) -> Json:
    said = [brief(as_text(node.get("description")) or as_text(node.get("title")), _TEXT)]
    values = [one for one in as_list(node.get("enum")) if isinstance(one, str | int | float)]
    if values and "enum" not in found and "anyOf" not in found:
        said.append("one of " + brief(", ".join(map(str, values[:40])), _TEXT))
    if isinstance(default := node.get("default"), str | int | float):
        said.append(f"default {brief(str(default), 60)}")
    text = "; ".join(filter(None, said))
    return {**found, "description": text} if text else found


def brief(text: str, most: int) -> str:
    """Return the text of a document for a model: on one line, without control characters and HTML tags, and short."""
    plain = re.sub(r"<[^<>]{1,80}>", " ", clean(text[: most * 4]))
    shown = " ".join("".join(c if c.isprintable() else " " for c in plain).split())
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


__all__ = ["NULL", "Schemas", "Unusable", "brief"]
