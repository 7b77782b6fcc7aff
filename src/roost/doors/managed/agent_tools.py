"""The tools of a managed agent: what its definition asks for, and what Roost's own are called there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple, TypeAlias, cast

import msgspec
from msgspec import Meta

from roost.agent.servers import MARK, McpServer
from roost.doors.managed.mcp_toolsets import (
    DefaultsGiven,
    McpToolsetGiven,
    Policy,
    PolicyGiven,
    ServerGiven,
    mcp_toolset,
)
from roost.doors.managed.requests import Asking
from roost.errors import Invalid
from roost.features.client_tools.events import OfferedTool
from roost.policy.gate import Permissions
from roost.policy.rules import Rule

TOOLSET = "agent_toolset_20260401"
_TOOLS = {
    "bash": "shell",
    "read": "read_file",
    "write": "write_file",
    "edit": "edit_file",
    "glob": "glob",
    "grep": "grep",
    "web_fetch": "web_fetch",
    "web_search": "web_search",
}
"""The tools of the toolset by their names there, each with Roost's own."""
_THEIRS = {own: name for name, own in _TOOLS.items()}
_ARGUMENTS = {
    "read_file": {"path": "file_path"},
    "write_file": {"path": "file_path"},
    "edit_file": {"path": "file_path", "old": "old_string", "new": "new_string"},
}
_MOST = 256


class ConfigGiven(Asking):
    """Settings of one tool of the toolset."""

    name: str
    type: str | None = None
    enabled: bool | None = None
    permission_policy: PolicyGiven | None = None
    allowed_domains: list[str] = []
    blocked_domains: list[str] = []
    max_content_tokens: int | None = None
    url_sources: Any = None
    user_location: Any = None


class ToolsetGiven(Asking, tag_field="type", tag=TOOLSET):
    configs: list[ConfigGiven] = []
    default_config: DefaultsGiven | None = None


class CustomGiven(Asking, tag_field="type", tag="custom"):
    """A tool that the client runs."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: str
    input_schema: dict[str, Any]


ToolGiven: TypeAlias = ToolsetGiven | McpToolsetGiven | CustomGiven


class AgentTools(NamedTuple):
    """What the tools of a definition come to. shown: as its clients see them. names: Roost's own tools. custom: those
    that the client runs. servers: the MCP servers whose tools it uses."""

    shown: list[dict[str, Any]]
    names: tuple[str, ...]
    rules: tuple[Rule, ...]
    permissions: Permissions
    custom: tuple[OfferedTool, ...]
    servers: tuple[McpServer, ...]


def agent_tools(given: list[ToolGiven], servers: Sequence[ServerGiven] = ()) -> AgentTools:
    """servers: those that toolsets may name. Raises `Invalid` for what Roost does not have."""
    shown: list[dict[str, Any]] = []
    used: dict[str, McpServer] = {}
    policies: dict[str, Policy] = {}
    custom: dict[str, OfferedTool] = {}
    for at, one in enumerate(given):
        match one:
            case ToolsetGiven():
                shown.append(_toolset(one, policies, f"tools[{at}]"))
            case CustomGiven():
                if one.name in custom or one.name in _TOOLS.values():
                    raise Invalid(f"tools[{at}].name: {one.name!r} is the name of another tool")
                if one.input_schema.get("type") != "object":
                    raise Invalid(f"tools[{at}].input_schema: its type is 'object'")
                custom[one.name] = OfferedTool(one.name, one.description, one.input_schema)
                shown.append({"type": "custom", **msgspec.structs.asdict(one)})
            case McpToolsetGiven():
                server = next((each for each in servers if each.name == one.mcp_server_name), None)
                if server is None or one.mcp_server_name in used:
                    raise Invalid(f"tools[{at}].mcp_server_name: name a server of `mcp_servers`, each once")
                toolset, used[server.name] = mcp_toolset(one, server, policies)
                shown.append(toolset)
    if len(policies) + len(custom) > _MOST:
        raise Invalid(f"tools: an agent has at most {_MOST}")
    own = tuple(name for name in policies if MARK not in name)
    return AgentTools(shown, own, *_judged(policies), tuple(custom.values()), tuple(used.values()))


def _toolset(given: ToolsetGiven, policies: dict[str, Policy], where: str) -> dict[str, Any]:
    default = given.default_config or DefaultsGiven()
    enabled = default.enabled is not False
    policy: Policy = "always_allow" if default.permission_policy is None else default.permission_policy.type
    configs = {one.name: one for one in given.configs}
    if unknown := configs.keys() - _TOOLS.keys():
        raise Invalid(f"{where}.configs: there is no tool {sorted(unknown)[0][:64]!r}; there are {', '.join(_TOOLS)}")
    shown: list[dict[str, Any]] = []
    for name, own in _TOOLS.items():
        one = configs.get(name)
        on, how = enabled, policy
        if one is not None:
            _check_config(one, f"{where}.configs.{name}")
            on = enabled if one.enabled is None else one.enabled
            how = policy if one.permission_policy is None else one.permission_policy.type
            shown.append({"name": name, "type": name, "enabled": on, "permission_policy": {"type": how}})
        if on:
            policies[own] = how
    defaults = {"enabled": enabled, "permission_policy": {"type": policy}}
    return {"type": TOOLSET, "default_config": defaults, "configs": shown}


def _check_config(one: ConfigGiven, where: str) -> None:
    named = one.allowed_domains or one.blocked_domains
    if named or one.max_content_tokens is not None or one.url_sources is not None or one.user_location is not None:
        raise Invalid(f"{where}: domains, sources, places and sizes of the web tools cannot be set here")


def _judged(policies: dict[str, Policy]) -> tuple[tuple[Rule, ...], Permissions]:
    """Return rules and permissions that have the effect of the policies."""
    own = {name: how for name, how in policies.items() if MARK not in name}
    asked = tuple(Rule(effect="ask", tool=name) for name, how in own.items() if how == "always_ask")
    servers = {name: how for name, how in policies.items() if MARK in name}  # what asks there, the server says
    allowed = tuple(Rule(effect="allow", tool=name) for name, how in servers.items() if how != "auto")
    if "auto" not in policies.values():
        return asked + allowed, "all"
    allowed += tuple(Rule(effect="allow", tool=name) for name, how in own.items() if how == "always_allow")
    return asked + allowed, "auto"


def shown_call(name: str, arguments: str) -> tuple[str, dict[str, Any]]:
    """Return a call of a tool as clients see it: its name and its input. Arguments that are no object are shown as one
    with their text."""
    try:
        given = msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        given = None
    if not isinstance(given, dict):
        return _THEIRS.get(name, name), {"arguments": arguments}
    renamed = _ARGUMENTS.get(name, {})
    found = cast("dict[str, Any]", given)
    return _THEIRS.get(name, name), {renamed.get(key, key): value for key, value in found.items()}


def tool_names() -> frozenset[str]:
    """Return Roost's names of the tools of the toolset."""
    return frozenset(_THEIRS)
