"""What a request of the newest revision says beside its method: revision and capabilities in the body, and the headers
that repeat parts of the body for proxies."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from msgspec import UNSET
from starlette.types import Scope

from roost.doors.mcp.exchange import LEVELS
from roost.doors.mcp.wire import HEADERS, LEGACY, MODERN, PARAMS, VERSION, Failure, Json, Message, as_object

_META = "io.modelcontextprotocol/"
_REVISION, _CLIENT, _LEVEL = _META + "protocolVersion", _META + "clientCapabilities", _META + "logLevel"
_HEADERS = (b"mcp-protocol-version", b"mcp-method", b"mcp-name")
_NAMED = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
_PARAM = b"mcp-param-"
_WRAPPED = re.compile(r"=\?base64\?(.*)\?=")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_DECIMAL = re.compile(r"(-?[0-9]+)(?:\.0+)?")


class Envelope(NamedTuple):
    """client: its capabilities. level: from which on it wants log messages."""

    params: Json
    client: Json
    level: str | None


def is_modern(scope: Scope, message: Message) -> bool:
    """Return whether a request is of the newest revision. Raises `Failure` for an unknown one."""
    given = _headers(scope, b"mcp-protocol-version")
    meta = _meta(message)
    if message.method in ("initialize", "ping") and _REVISION not in meta and MODERN not in given:
        return False
    return _REVISION in meta or any(one not in LEGACY for one in given)


def check_envelope(scope: Scope, message: Message) -> Envelope:
    """Check the envelope of a request. Raises `Failure`."""
    meta, params = _meta(message), {} if message.params is UNSET else message.params
    if missing := [key for key in (_REVISION, _CLIENT) if key not in meta]:
        raise Failure(PARAMS, f"`params._meta` must have {' and '.join(missing)}")
    for name in _HEADERS:
        if len(_headers(scope, name)) > 1:
            raise Failure(HEADERS, f"the header {name.decode()} is there more than once")
    revision, client, level = meta[_REVISION], as_object(meta[_CLIENT]), meta.get(_LEVEL)
    _match(scope, b"mcp-protocol-version", revision)
    _match(scope, b"mcp-method", message.method)
    part = _NAMED.get(str(message.method))
    if part is not None and params.get(part) is not None:
        given = _headers(scope, b"mcp-name")
        if not given or unwrapped(given[0]) != params[part]:
            raise Failure(HEADERS, f"the header mcp-name is not the request's `{part}`")
    if not isinstance(revision, str) or client is None:
        raise Failure(PARAMS, f"{_REVISION} is a string, and {_CLIENT} an object")
    if revision != MODERN:
        data = {"supported": [MODERN], "requested": revision}
        raise Failure(VERSION, f"the revision {revision!r} is not spoken here", data)
    if level is not None and level not in LEVELS:
        raise Failure(PARAMS, f"{_LEVEL} is one of: {', '.join(LEVELS)}")
    return Envelope(params, client, level)


def unwrapped(value: str) -> str | None:
    """Return the value of a header, which may be wrapped as Base64; None when it is wrapped wrongly."""
    found = _WRAPPED.fullmatch(value)
    if found is None:
        return value
    try:
        raw = base64.b64decode(found[1], validate=True)
        return raw.decode() if base64.b64encode(raw).decode() == found[1] else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def param_headers(scope: Scope) -> dict[bytes, list[str]]:
    """Return the headers that mirror arguments, by their token in lower case."""
    found: dict[bytes, list[str]] = {}
    for key, value in scope["headers"]:
        if key.startswith(_PARAM):
            found.setdefault(key[len(_PARAM) :], []).append(value.decode("latin-1").strip())
    return found


def compare_headers(scope: Scope, schema: Json, arguments: Json) -> None:
    """Compare the headers that a tool's schema declares with the arguments. Raises `Failure`."""
    given = param_headers(scope)
    for path, token, kind in _declared(schema, ()):
        name = f"Mcp-Param-{token}"
        found = given.get(token.lower().encode(), [])
        value = _at(arguments, path)
        shown = _shown(value)
        if len(found) > 1:
            raise Failure(HEADERS, f"{name} is there more than once")
        if shown is None:
            if found:
                raise Failure(HEADERS, f"{name} is given, but the argument {'.'.join(path)!r} is not")
        elif not found or not _same(kind, value, shown, unwrapped(found[0])):
            raise Failure(HEADERS, f"{name} does not say what the argument {'.'.join(path)!r} says")


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in scope["headers"] if key == name]


def _match(scope: Scope, name: bytes, said: Any) -> None:
    given = _headers(scope, name)
    if not given or given[0] != said:
        raise Failure(HEADERS, f"the header {name.decode()} does not say what the body says")


def _meta(message: Message) -> Json:
    return (None if message.params is UNSET else as_object(message.params.get("_meta"))) or {}


def _declared(schema: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yield the properties with `x-mcp-header`: their path, token and type."""
    properties = as_object((as_object(schema) or {}).get("properties")) or {}
    for name, found in properties.items():
        below = as_object(found) or {}
        token = below.get("x-mcp-header")
        if isinstance(token, str) and _TOKEN.fullmatch(token):
            yield (*path, name), token, str(below.get("type"))
        yield from _declared(below, (*path, name))


def _at(arguments: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        arguments = (as_object(arguments) or {}).get(name)
    return arguments


def _shown(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None


def _same(kind: str, value: Any, shown: str, given: str | None) -> bool:
    if given is None:
        return False
    whole = _DECIMAL.fullmatch(given)
    if kind == "integer" and whole is not None and isinstance(value, int | float) and value == int(value):
        return whole[1] == str(int(value))
    return given == shown
