"""Requests to the routes of an adapter of termo-agent that Roost hosts.

Each is a message of its session, whose answer is the response: so it is in the log, its model calls are charged, and a
kill in the middle of it loses nothing."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.types import Receive, Scope

from roost.agent.definition import AgentSpec
from roost.server.problems import Refused
from roost.server.request_body import read_body
from roost.server.responses import Header, Reply

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
SESSION = b"x-session-key"
"""The header that says in which session a route is asked."""
DIRECT = "api:direct"
PUBLIC = "public"
"""The key of the session that answers those who show no token: they choose none."""
_BODY_BYTES = 512 * 1024
_TAKEN = ("content-type", "accept", "accept-language", "user-agent")
_PRIVATE = ("x-api-key", "x-session-key", "x-forwarded-for", "x-real-ip")
_GIVEN = (
    "cache-control",
    "content-disposition",
    "content-language",
    "etag",
    "last-modified",
    "location",
    "retry-after",
)
_WALL: list[Header] = [
    (b"content-security-policy", b"sandbox allow-scripts allow-forms allow-popups"),
    (b"x-content-type-options", b"nosniff"),
]
"""A page of an adapter is a page of no origin: it cannot act for a person who is signed in to the console."""


class _Response(msgspec.Struct):
    status: int
    headers: dict[str, str] = {}
    body: str = ""
    base64: bool = False


_decode = msgspec.json.Decoder(_Response).decode


def is_adapter(spec: AgentSpec) -> bool:
    """Whether an agent is an adapter of termo-agent, which answers for itself."""
    return spec.framework == "termo-agent"


def _path(scope: Scope) -> str:
    """Return the path as the adapter knows it."""
    return "/" + "/".join(scope["path"].split("/")[3:])


def is_public(spec: AgentSpec, scope: Scope) -> bool:
    """Whether the operator lets anybody ask for a path. The adapter is asked, too."""
    path = _path(scope)
    if any(part in (".", "..") for part in path.split("/")):
        return False
    inside = any(path == one or path.startswith(one if one.endswith("/") else f"{one}/") for one in spec.public_routes)
    return is_adapter(spec) and inside


async def request_text(scope: Scope, receive: Receive, *, public: bool) -> str:
    """Return a request as JSON, as its message has it. Raises `Refused`, `TooLarge`."""
    body = await read_body(scope, receive, limit=_BODY_BYTES)
    asked: dict[str, Any] = {
        "method": scope["method"],
        "path": quote(_path(scope), safe="/:@!$&'()*+,;=~"),
        "query": scope.get("query_string", b"").decode("latin-1"),
        "headers": _headers(scope),
        "public": public,
    }
    try:
        asked["body"] = body.decode()
    except UnicodeDecodeError:
        asked |= {"body": base64.b64encode(body).decode(), "base64": True}
    return msgspec.json.encode(asked).decode()


def _headers(scope: Scope) -> dict[str, str]:
    found = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
    return {
        name: value
        for name, value in found.items()
        if (name in _TAKEN or name.startswith("x-")) and name not in _PRIVATE and not name.startswith("x-roost")
    }


def response_of(answer: str) -> Reply:
    """Return the response that is the last text of a turn."""
    try:
        said = _decode(answer.rpartition("\n\n")[2])
        body = base64.b64decode(said.body) if said.base64 else said.body.encode()
    except (msgspec.DecodeError, ValueError) as error:
        raise Refused(502, "bad_route", "the adapter did not answer this request") from error
    kind = next((value for name, value in said.headers.items() if name.lower() == "content-type"), "text/plain")
    headers: list[Header] = [
        (name.lower().encode("latin-1", "replace"), _line(value))
        for name, value in said.headers.items()
        if name.lower() in _GIVEN or name.lower().startswith("x-")
    ]
    status = said.status if 200 <= said.status <= 599 else 502
    return Reply(status, body, content_type=_line(kind), headers=[*headers, *_WALL])


def _line(value: str) -> bytes:
    return value.replace("\r", " ").replace("\n", " ").encode("latin-1", "replace")
