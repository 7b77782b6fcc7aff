"""The two ways to speak with a server: stateless, each request complete in itself, and with a handshake first."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from roost.features.mcp.messages import LEGACY, MODERN, Json, as_list, as_object
from roost.version import version

_META = "io.modelcontextprotocol/"
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PLAIN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?|")
_WRAPPED = re.compile(r"=\?base64\?.*\?=", re.IGNORECASE)
_KINDS = ("string", "integer", "boolean")
_SAFE = 2**53 - 1


def client_info() -> Json:
    return {"name": "roost", "version": version()}


class Era(Protocol):
    """A way to speak. revision: of the protocol."""

    @property
    def revision(self) -> str: ...

    def params(self, params: Mapping[str, Any]) -> Json:
        """Complete the parameters of a request."""
        ...

    def headers(self, method: str, params: Mapping[str, Any], schema: Json | None = None) -> dict[str, str]:
        """Return the HTTP headers of a message. schema: of the arguments of a tool."""
        ...


class Modern:
    """The stateless revision. capabilities: of this client."""

    revision = MODERN

    def __init__(self, capabilities: Json) -> None:
        self._meta = {
            f"{_META}protocolVersion": MODERN,
            f"{_META}clientInfo": client_info(),
            f"{_META}clientCapabilities": capabilities,
        }

    def params(self, params: Mapping[str, Any]) -> Json:
        return {**params, "_meta": {**as_object(params.get("_meta")), **self._meta}}

    def headers(self, method: str, params: Mapping[str, Any], schema: Json | None = None) -> dict[str, str]:
        found = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        named = params.get(_NAMED.get(method, ""))
        if isinstance(named, str):
            found["Mcp-Name"] = wrapped(named)
        for path, token in declared(schema) if schema is not None else ():
            value = _at(as_object(params.get("arguments")), path)
            if (shown := _shown(value)) is not None:
                found[f"Mcp-Param-{token}"] = wrapped(shown)
        return found


class Legacy:
    """A revision with a handshake."""

    def __init__(self, revision: str) -> None:
        self.revision = revision

    def params(self, params: Mapping[str, Any]) -> Json:
        return dict(params)

    def headers(self, method: str, params: Mapping[str, Any], schema: Json | None = None) -> dict[str, str]:
        return {} if method == "initialize" else {"MCP-Protocol-Version": self.revision}


def chosen_legacy(revision: object) -> str | None:
    """Return the revision that a server chose in the handshake, if Roost speaks it."""
    return revision if isinstance(revision, str) and revision in LEGACY else None


def wrapped(value: str) -> str:
    """Return a header's value: plain where it can be, else as Base64."""
    if _PLAIN.fullmatch(value) and not _WRAPPED.fullmatch(value):
        return value
    return f"=?base64?{base64.b64encode(value.encode('utf-8', 'surrogatepass')).decode()}?="


def declared(schema: Json) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the arguments that a tool wants repeated in headers: their path, and the header's token."""
    for path, token, _ in _marked(schema, ()):
        yield path, token


def wrong_headers(schema: Json) -> str | None:
    """Return why the headers that a tool's schema declares are not allowed, or None."""
    seen = set[str]()
    for path, token, kind in _marked(schema, ()):
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            return f"the header {token!r} is no name of one"
        if not path or kind not in _KINDS:
            return f"the header {token!r} is not of a plain argument"
        if token.lower() in seen:
            return f"two arguments have the header {token!r}"
        seen.add(token.lower())
    return None


def _marked(schema: Any, path: tuple[str, ...] | None) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield every `x-mcp-header`, with the path of its argument; no path where no argument is certain."""
    for below in as_list(schema):
        yield from _marked(below, None)
    found = as_object(schema)
    if "x-mcp-header" in found:
        yield (path or ()), found["x-mcp-header"], found.get("type")
    for name, below in found.items():
        if name == "properties" and path is not None:
            for key, value in as_object(below).items():
                yield from _marked(value, (*path, key))
        elif name not in ("default", "const", "enum", "examples"):
            yield from _marked(below, None) if name != "properties" else _hidden(below)


def _hidden(properties: Any) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    for value in as_object(properties).values():
        yield from _marked(value, None)


def _at(arguments: Json, path: tuple[str, ...]) -> Any:
    found: Any = arguments
    for name in path:
        found = as_object(found).get(name)
    return found


def _shown(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) <= _SAFE else None
    return str(value) if isinstance(value, str | int) else None
