"""Make the OpenAPI document from the table of endpoints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, get_args, get_origin

import msgspec

from roost.log.events import Event, any_event
from roost.server.problems import Problem
from roost.server.row_handler import KEY_LENGTH, Endpoint, Nothing
from roost.version import version

_JSON = "application/json"
_EVENTS = "text/event-stream"
_REF = "#/components/schemas/{name}"
_ALWAYS = (400, 403, 422, 500, 503, 507)
_STREAM = (
    "Server-Sent Events. `id` is the event's number in the log (come back with `Last-Event-ID`), `event` its type,"
    " `data` the event. `delta` events have no id: pieces of the running step. Nor have `progress` events: how far a"
    " step is that has said nothing yet. A last `problem` event says why a stream ended before its time."
)


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    shapes = _types(endpoints)
    schemas, components = msgspec.json.schema_components([_closed(one) for one in shapes], ref_template=_REF)
    named = dict(zip(map(_key, shapes), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = re.sub(r"{(\w+):\w+}", r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, named)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Roost", "version": version(), "description": "A runtime for durable AI agents."},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _types(endpoints: Sequence[Endpoint]) -> list[Any]:
    wanted: dict[str, Any] = {_key(Problem): Problem, _key(Event): Event}
    for endpoint in endpoints:
        row = endpoint.operation
        for one in (endpoint.body, *map(row.documented, row.answers)):
            if one is not None and one is not Nothing:
                wanted[_key(one)] = one
    return list(wanted.values())


def _key(one: Any) -> str:
    return repr(one)


def _closed(one: Any) -> Any:
    """Put the union of all kinds of events in the place of their base class."""
    if one is Event:
        return any_event()
    args = get_args(one)
    return get_origin(one)[tuple(map(_closed, args))] if Event in args else one


def _operation(endpoint: Endpoint, named: dict[str, Any]) -> dict[str, Any]:
    row = endpoint.operation
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": _name(endpoint),
        "parameters": _parameters(endpoint),
        "responses": _responses(endpoint, named),
    }
    if row.description and not endpoint.takes_body:
        operation["description"] = row.description
    if endpoint.takes_body:
        schema = named[_key(endpoint.body)]
        operation["requestBody"] = {"required": not row.bodiless, "content": {_JSON: {"schema": schema}}}
    if row.content is not None:
        content = {row.content: {"schema": {"type": "string", "format": "binary"}}}
        operation["requestBody"] = {"required": True, "content": content}
    if row.open:
        operation["security"] = []
    return operation


def _name(endpoint: Endpoint) -> str:
    words = re.findall(r"\w+", re.sub(r"{(\w+)(:\w+)?}", r"\1", endpoint.path))
    return "_".join([endpoint.method.lower(), *words])


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    row = endpoint.operation
    names = re.findall(r"{(\w+)(?::\w+)?}", endpoint.path)
    found = [_parameter(name, "path", {"type": "string", "minLength": 1}, required=True) for name in names]
    query = msgspec.json.schema(endpoint.query)["$defs"]["Query"]
    required = query.get("required", [])
    found += [_parameter(n, "query", _plain(s), required=n in required) for n, s in query["properties"].items()]
    if row.keyed:
        schema = {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH}
        found.append(_parameter("Idempotency-Key", "header", schema))
    if row.placed("wait"):
        about = "`wait=SECONDS`: how long to wait for the effect before the answer is 202"
        found.append(_parameter("Prefer", "header", {"type": "string", "description": about}))
    if row.streams and endpoint.method == "GET":
        found.append(_parameter("Last-Event-ID", "header", {"type": "string", "pattern": "^[0-9]{1,18}$"}))
    return found


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Simplify a parameter's schema: a query cannot say null, so a parameter that may be null may be absent."""
    choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    plain = {key: value for key, value in schema.items() if key != "anyOf" and not (key == "default" and value is None)}
    if len(choices) == 1:
        plain |= choices[0]
    return plain


def _parameter(name: str, place: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": schema}


def _responses(endpoint: Endpoint, named: dict[str, Any]) -> dict[str, Any]:
    row = endpoint.operation
    responses: dict[str, Any] = {}
    for status in row.answers:
        answer = row.documented(status)
        kinds = row.texts or (_JSON,)
        content = {} if answer is None else {kind: {"schema": named[_key(answer)]} for kind in kinds}
        if row.streams and endpoint.method == "GET":
            content[_EVENTS] = _stream()
        responses[str(status)] = _response(status, content)
    if row.streams and "200" not in responses:
        responses["200"] = _response(200, {_EVENTS: _stream()})
    problem = {"application/problem+json": {"schema": named[_key(Problem)]}}
    statuses = {*_ALWAYS, *row.errors, *(() if row.open else (401,))}
    if endpoint.takes_body:
        statuses |= {408, 413, 415}
    for status in sorted(statuses):
        responses.setdefault(str(status), _response(status, problem))
    return responses


def _stream() -> dict[str, Any]:
    return {"schema": {"type": "string", "description": _STREAM}}


def _response(status: int, content: dict[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if content:
        response["content"] = content
    return response
