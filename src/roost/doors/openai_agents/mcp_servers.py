"""MCP servers of an agent's configuration."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from roost.agent.servers import McpServer
from roost.doors.credential_shapes import server_address
from roost.doors.openai_agents.environment_config import ROOT
from roost.errors import Invalid

_HEADERS, _HEADER, _TOOLS = 32, 4096, 256
_SECRET = frozenset(("authorization", "cookie", "proxy-authorization", "x-api-key"))


class _Http(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="http"):
    server_url: str
    headers: dict[str, str] | None = None


class _Stdio(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="stdio"):
    command: str
    cwd: str
    args: list[str] | None = None
    env_vars: list[str] | None = None


class _Given(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["mcp"]
    server_label: str
    transport: _Http | _Stdio
    allowed_tools: list[str] | None = None
    connection_origin: Literal["service", "environment"] | None = None
    credential_id: str | None = None
    request_metadata: dict[str, Any] | None = None
    required: bool = False


def shown_server(tool: dict[str, Any], where: str) -> dict[str, Any]:
    """Check a server and complete it with its defaults. Raises `Invalid` (`unsupported` for what is not here)."""
    try:
        given = msgspec.convert(tool, _Given)
    except msgspec.ValidationError as error:
        raise Invalid(f"{where}: {error}") from None
    transport = given.transport
    if isinstance(transport, _Stdio):
        if given.credential_id or transport.env_vars:
            raise Invalid(f"{where}: a program gets neither credentials nor variables here", code="unsupported")
        if transport.cwd.rstrip("/") != ROOT:
            raise Invalid(f"{where}.transport.cwd: programs start in {ROOT}", code="unsupported")
        shown: dict[str, Any] = {"command": transport.command, "cwd": ROOT, "args": transport.args or []}
        shown = {"type": "stdio", **shown, "env_vars": []}
    else:
        if given.connection_origin == "environment":
            why = "the daemon calls servers itself; only programs run in the environment"
            raise Invalid(f"{where}.connection_origin: {why}", code="unsupported")
        server_address(transport.server_url, f"{where}.transport.server_url")
        shown = {"type": "http", "server_url": transport.server_url, "headers": _headers(transport.headers, where)}
    if given.request_metadata:
        raise Invalid(f"{where}.request_metadata: requests to servers carry none here", code="unsupported")
    if given.required:
        why = "a turn goes on without a server that cannot be reached, and says so"
        raise Invalid(f"{where}.required: {why}", code="unsupported")
    if len(given.allowed_tools or ()) > _TOOLS:
        raise Invalid(f"{where}.allowed_tools: at most {_TOOLS}")
    found = {
        "type": "mcp",
        "server_label": given.server_label,
        "transport": shown,
        "allowed_tools": given.allowed_tools,
        "connection_origin": "environment" if isinstance(transport, _Stdio) else "service",
        "credential_id": given.credential_id,
        "request_metadata": {},
        "required": False,
    }
    try:
        server_of(found)
    except ValueError as error:
        raise Invalid(f"{where}.server_label: {error}") from None
    return found


def server_of(shown: dict[str, Any]) -> McpServer:
    """Return Roost's definition of a server. A program runs in the session's sandbox. Raises `ValueError`."""
    transport, tools = shown["transport"], shown["allowed_tools"]
    common: dict[str, Any] = {
        "name": shown["server_label"],
        "grants": "session",
        "tools": () if tools is None else tuple(map(_literal, tools)) or ("",),
    }
    if transport["type"] == "stdio":
        return McpServer(command=transport["command"], args=transport["args"], **common)
    return McpServer(url=transport["server_url"], headers=transport["headers"], **common)


def _headers(given: dict[str, str] | None, where: str) -> dict[str, str]:
    found = given or {}
    if len(found) > _HEADERS or any(len(name) + len(value) > _HEADER for name, value in found.items()):
        raise Invalid(f"{where}.transport.headers: at most {_HEADERS}, of {_HEADER} characters each")
    if any(not (name + value).isprintable() for name, value in found.items()):
        raise Invalid(f"{where}.transport.headers: plain text of one line")
    if secret := [name for name in found if name.lower() in _SECRET]:
        raise Invalid(f"{where}.transport.headers: {secret[0]!r} carries a secret: keep it in a vault")
    return found


def _literal(name: str) -> str:
    """Return a glob that fits one name."""
    return "".join(f"[{mark}]" if mark in "*?[" else mark for mark in name)
