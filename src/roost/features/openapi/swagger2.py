"""Read Swagger 2 as OpenAPI 3: its parameters, bodies, servers and security schemes."""

from __future__ import annotations

from typing import Any, cast

from roost.features.openapi.document import Json, as_list, as_object, as_text

_STYLES = {"csv": "form", "ssv": "spaceDelimited", "pipes": "pipeDelimited", "tsv": "tabs", "multi": "form"}
_OF_SCHEMA = (
    "type",
    "format",
    "items",
    "enum",
    "default",
    "minimum",
    "maximum",
    "description",
    "minLength",
    "maxLength",
)


def servers_of(root: Json) -> list[Json]:
    """Return the servers of the document: relative ones where it names no host."""
    base = as_text(root.get("basePath")) or "/"
    host = as_text(root.get("host"))
    if not host:
        return [{"url": base}]
    schemes = [one for one in as_list(root.get("schemes")) if one in ("http", "https")]
    scheme = "https" if "https" in schemes or not schemes else "http"
    return [{"url": f"{scheme}://{host}{base if base.startswith('/') else '/' + base}"}]


def schemes_of(root: Json) -> Json:
    """Return the security schemes in the form of OpenAPI 3."""
    found: Json = {}
    for name, given in as_object(root.get("securityDefinitions")).items():
        one = as_object(given)
        if one.get("type") == "basic":
            found[name] = {"type": "http", "scheme": "basic"}
        elif one.get("type") == "oauth2":
            flow = {"tokenUrl": one.get("tokenUrl"), "scopes": one.get("scopes")}
            found[name] = {"type": "oauth2", "flows": {"clientCredentials": flow}}
        else:
            found[name] = one
    return found


def operation_of(root: Json, operation: Json, parameters: list[Json]) -> tuple[list[Json], Json]:
    """Return the parameters of an operation and its request body, in the form of OpenAPI 3."""
    kept: list[Json] = []
    fields: Json = {}
    encodings: Json = {}
    required: list[str] = []
    body: Json = {}
    consumes = _media(operation.get("consumes") or root.get("consumes"))
    for one in parameters:
        place, name = one.get("in"), as_text(one.get("name"))
        if place == "body":
            media = consumes or ["application/json"]
            content: Json = {each: {"schema": one.get("schema")} for each in media}
            body = {"content": content, "required": one.get("required") is True}
        elif place == "formData":
            fields[name] = _schema(one)
            encodings[name] = _style(one)
            required += [name] if one.get("required") is True else []
        else:
            kept.append({**one, **_style(one), "schema": _schema(one)})
    if fields:
        form = {"type": "object", "properties": fields, "required": required}
        files = any(one.get("in") == "formData" and one.get("type") == "file" for one in parameters)
        multipart = files or consumes == ["multipart/form-data"]
        media_type = "multipart/form-data" if multipart else "application/x-www-form-urlencoded"
        body = {"content": {media_type: {"schema": form, "encoding": encodings}}, "required": bool(required)}
    return kept, body


def responses_of(root: Json, operation: Json) -> Json:
    """Return the responses in the form of OpenAPI 3, as far as their media types go."""
    produces = _media(operation.get("produces") or root.get("produces"))
    content: Json = dict.fromkeys(produces, cast("Json", {}))
    responses = as_object(operation.get("responses"))
    return {code: {"content": content if "schema" in as_object(one) else {}} for code, one in responses.items()}


def _media(value: Any) -> list[str]:
    return [one for one in as_list(value) if isinstance(one, str)]


def _schema(one: Json) -> Json:
    found = {name: one[name] for name in _OF_SCHEMA if name in one}
    if found.get("type") == "file":
        return {**found, "type": "string", "format": "binary"}
    return found


def _style(one: Json) -> Json:
    form = as_text(one.get("collectionFormat")) or "csv"
    if one.get("in") in ("path", "header"):
        return {"style": "simple", "explode": False}
    return {"style": _STYLES.get(form, "form"), "explode": form == "multi"}
