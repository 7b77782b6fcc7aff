"""MCP servers of a definition, and which of their tools it uses under which policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from roost.agent.servers import MARK, McpServer
from roost.doors.credential_shapes import server_address
from roost.doors.managed.requests import Asking
from roost.errors import Invalid

_MOST = 20
Policy: TypeAlias = Literal["always_allow", "always_ask", "auto"]


class PolicyGiven(Asking):
    type: Policy


class DefaultsGiven(Asking):
    enabled: bool | None = None
    permission_policy: PolicyGiven | None = None


class McpConfigGiven(Asking):
    """Settings of one tool of an MCP server."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    enabled: bool | None = None
    permission_policy: PolicyGiven | None = None


class McpToolsetGiven(Asking, tag_field="type", tag="mcp_toolset"):
    mcp_server_name: str
    configs: list[McpConfigGiven] = []
    default_config: DefaultsGiven | None = None


class ServerGiven(Asking, tag_field="type", tag="url"):
    """An MCP server."""

    name: str
    url: str


def shown_servers(given: Sequence[ServerGiven] | None) -> list[dict[str, Any]]:
    """Return the servers of a definition as clients see them. Raises `Invalid`."""
    found: list[dict[str, Any]] = []
    for at, one in enumerate(given or ()):
        where = f"mcp_servers[{at}]"
        if one.name in [each["name"] for each in found]:
            raise Invalid(f"{where}.name: {one.name!r} is the name of another server")
        try:
            McpServer(name=one.name, url=server_address(one.url, f"{where}.url"))
        except ValueError as error:
            raise Invalid(f"{where}.name: {error}") from None
        found.append({"type": "url", "name": one.name, "url": one.url})
    if len(found) > _MOST:
        raise Invalid(f"mcp_servers: at most {_MOST}")
    return found


def mcp_toolset(
    given: McpToolsetGiven, server: ServerGiven, policies: dict[str, Policy]
) -> tuple[dict[str, Any], McpServer]:
    """Return a toolset as clients see it, and the server. policies: takes those of its tools."""
    default = given.default_config or DefaultsGiven()
    enabled = default.enabled is not False
    policy: Policy = "always_ask" if default.permission_policy is None else default.permission_policy.type
    shown: list[dict[str, Any]] = []
    on, off, asks, unasked = list[str](), list[str](), list[str](), list[str]()
    for one in given.configs:
        use = enabled if one.enabled is None else one.enabled
        how = policy if one.permission_policy is None else one.permission_policy.type
        shown.append({"name": one.name, "enabled": use, "permission_policy": {"type": how}})
        (on if use else off).append(_literal(one.name))
        (asks if how == "always_ask" else unasked).append(_literal(one.name))
        policies[f"{server.name}{MARK}{_literal(one.name)}"] = how
    policies[f"{server.name}{MARK}*"] = policy
    made = McpServer(
        name=server.name,
        url=server.url,
        grants="session",
        tools=() if enabled else tuple(on) or ("",),
        without=tuple(off),
        asks=("*",) if policy == "always_ask" else tuple(asks),
        unasked=tuple(unasked) if policy == "always_ask" else (),
    )
    defaults = {"enabled": enabled, "permission_policy": {"type": policy}}
    return {"type": "mcp_toolset", "mcp_server_name": server.name, "default_config": defaults, "configs": shown}, made


def _literal(name: str) -> str:
    """Return a glob that fits one name."""
    return "".join(f"[{mark}]" if mark in "*?[" else mark for mark in name)
