"""The configuration of an agent, as clients of the Agents API give it and see it."""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from roost.agent.servers import McpServer
from roost.doors.openai_agents.mcp_servers import server_of, shown_server
from roost.errors import Invalid

Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Tier: TypeAlias = Literal["auto", "default", "flex", "priority", "fast", "ultrafast"]
TOOL_BYTES = 3 * 1024 * 1024
"""Most bytes of all tools as JSON."""
INSTRUCTION_BYTES = 256 * 1024
_SERVERS = 20
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NEVER = {
    "computer_use": "no browser is here",
    "automations": "an agent cannot make its own schedules; make them with client.beta.agents.automations",
    "programmatic_tool_calling": "tools cannot be called from code here",
}


class _Given(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A part of a request. A field that is not known is an error, not ignored."""


class Compaction(_Given):
    background: bool | None = msgspec.field(name="async", default=None)


class Experimental(_Given):
    time_awareness: bool | None = None


class MultiAgent(_Given):
    enabled: bool
    max_concurrent_subagents: int | None = None


class Reasoning(_Given):
    effort: Effort | None = None
    summary: Literal["concise", "detailed", "auto"] | None = None


class TextFormat(_Given):
    type: Literal["text", "json_schema"] = "text"
    schema: dict[str, Any] | None = None


class TextOptions(_Given):
    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class AgentBody(_Given):
    """An agent in a request. A field that is not there leaves the value as it is; null resets it."""

    model: str | UnsetType = UNSET
    name: str | UnsetType | None = UNSET
    instructions: str | UnsetType | None = UNSET
    metadata: dict[str, str] | UnsetType | None = UNSET
    compaction: Compaction | UnsetType | None = UNSET
    experimental: Experimental | UnsetType | None = UNSET
    multi_agent: MultiAgent | UnsetType | None = UNSET
    reasoning: Reasoning | UnsetType | None = UNSET
    service_tier: Tier | UnsetType | None = UNSET
    text: TextOptions | UnsetType | None = UNSET
    tools: list[dict[str, Any]] | UnsetType | None = UNSET


class AgentConfig(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The resolved configuration. Stored with a definition and with a session."""

    model: str
    name: str | None = None
    instructions: str | None = None
    metadata: dict[str, str] = {}
    background_compaction: bool = False
    time_awareness: bool = False
    subagents: bool = False
    subagents_at_once: int | None = None
    effort: Effort | None = None
    summary: Literal["concise", "detailed", "auto"] | None = None
    service_tier: Tier = "auto"
    schema: dict[str, Any] | None = None
    verbosity: Literal["low", "medium", "high"] = "medium"
    tools: tuple[dict[str, Any], ...] = ()

    def merged(self, body: AgentBody, where: str = "") -> AgentConfig:
        """Return the configuration with what a request changes. Raises `Invalid`."""
        changes: dict[str, Any] = {}
        if body.model is not UNSET:
            if not 1 <= len(body.model) <= 256:
                raise Invalid(f"{where}model: name a model by 1 to 256 characters")
            changes["model"] = body.model
        if body.name is not UNSET:
            changes["name"] = _short(body.name, f"{where}name", 1024)
        if body.instructions is not UNSET:
            changes["instructions"] = _short(body.instructions, f"{where}instructions", INSTRUCTION_BYTES)
        if body.metadata is not UNSET:
            changes["metadata"] = metadata_of(body.metadata, f"{where}metadata")
        if body.tools is not UNSET:
            changes["tools"] = tools_of(body.tools or [], f"{where}tools")
        return msgspec.structs.replace(self, **changes, **self._settings(body, where))

    def _settings(self, body: AgentBody, where: str) -> dict[str, Any]:
        """Return what a request changes of how the agent works."""
        changes: dict[str, Any] = {}
        if body.compaction is not UNSET:
            changes["background_compaction"] = bool(body.compaction and body.compaction.background)
        if body.experimental is not UNSET and body.experimental and body.experimental.time_awareness is not None:
            changes["time_awareness"] = body.experimental.time_awareness
        if body.reasoning is not UNSET:
            given = body.reasoning or Reasoning()
            changes |= {"effort": given.effort, "summary": given.summary}
        if body.service_tier is not UNSET:
            changes["service_tier"] = body.service_tier or "auto"
        if body.multi_agent is not UNSET:
            changes |= _subagents(body.multi_agent, f"{where}multi_agent")
        if body.text is not UNSET:
            changes |= _text_changes(body.text, f"{where}text")
        return changes

    @property
    def servers(self) -> tuple[McpServer, ...]:
        """The MCP servers whose tools the agent uses."""
        return tuple(server_of(tool) for tool in self.tools if tool["type"] == "mcp")

    @property
    def functions(self) -> list[dict[str, Any]]:
        """The functions that the application runs."""
        return [tool for tool in self.tools if tool["type"] == "function"]

    def has(self, kind: str) -> bool:
        """Whether a tool of a kind is there and not disabled."""
        return any(tool["type"] == kind and tool.get("mode") != "disabled" for tool in self.tools)

    def shown(self) -> dict[str, Any]:
        """Return what a client sees of it, wherever it is a part of a resource."""
        form: dict[str, Any] = {"type": "text"}
        if self.schema is not None:
            form = {"type": "json_schema", "schema": self.schema}
        return {
            "model": self.model,
            "instructions": self.instructions,
            "multi_agent": {"enabled": self.subagents, "max_concurrent_subagents": self.subagents_at_once},
            "reasoning": {"effort": self.effort, "summary": self.summary},
            "service_tier": self.service_tier,
            "text": {"format": form, "verbosity": self.verbosity},
            "tools": list(self.tools),
            "compaction": {"async": self.background_compaction},
            "experimental": {"time_awareness": self.time_awareness},
        }


def metadata_of(given: dict[str, str] | None, where: str = "metadata") -> dict[str, str]:
    """Check metadata. Raises `Invalid`."""
    found = given or {}
    if len(found) > 16:
        raise Invalid(f"{where}: at most 16 pairs, not {len(found)}")
    for key, value in found.items():
        if not 1 <= len(key) <= 64 or len(value) > 512 or "\0" in key + value:
            raise Invalid(f"{where}: a key has 1 to 64 characters, a value at most 512, none of them NUL")
    return found


def tools_of(given: list[dict[str, Any]], where: str) -> tuple[dict[str, Any], ...]:
    """Check tools and complete them with their defaults. Raises `Invalid` (`unsupported` for one that is not here)."""
    if len(msgspec.json.encode(given)) > TOOL_BYTES:
        raise Invalid(f"{where}: the tools have more than {TOOL_BYTES} bytes")
    found: dict[str, dict[str, Any]] = {}
    for at, tool in enumerate(given):
        shown = _tool(tool, f"{where}[{at}]")
        name = str(shown.get("name", shown.get("server_label", shown["type"])))
        if name in found:
            raise Invalid(f"{where}[{at}]: {name!r} is there twice")
        found[name] = shown
    if sum(one["type"] == "mcp" for one in found.values()) > _SERVERS:
        raise Invalid(f"{where}: at most {_SERVERS} MCP servers")
    return tuple(found.values())


def _tool(tool: dict[str, Any], where: str) -> dict[str, Any]:
    match tool.get("type"):
        case "function":
            return _function(tool, where)
        case "tool_search":
            return {"type": "tool_search"}
        case "web_search":
            return _web_search(tool, where)
        case "mcp":
            return shown_server(tool, where)
        case "programmatic_tool_calling" if tool.get("enabled") is False:
            return {"type": "programmatic_tool_calling", "enabled": False}
        case str(kind) if kind in _NEVER:
            raise Invalid(f"{where}: {_NEVER[kind]}", code="unsupported")
        case kind:
            raise Invalid(f"{where}.type: {str(kind)[:100]!r} is no kind of tool")


def _function(tool: dict[str, Any], where: str) -> dict[str, Any]:
    name, schema = tool.get("name"), tool.get("parameters")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Invalid(f"{where}.name: use letters, digits, _ and - (at most 64)")
    if not isinstance(tool.get("description", ""), str) or not isinstance(schema, dict):
        raise Invalid(f"{where}: a function has a description and parameters, a JSON Schema of type object")
    if tool.get("async"):
        raise Invalid(f"{where}.async: the agent waits for the results of functions here", code="unsupported")
    return {
        "type": "function",
        "name": name,
        "description": tool.get("description", ""),
        "parameters": schema,
        "defer_loading": bool(tool.get("defer_loading")),
    }


def _web_search(tool: dict[str, Any], where: str) -> dict[str, Any]:
    mode, size = tool.get("mode") or "live", tool.get("context_size") or "medium"
    if mode not in ("disabled", "cached", "live") or size not in ("low", "medium", "high"):
        raise Invalid(f"{where}: mode is disabled, cached or live, context_size low, medium or high")
    if tool.get("allowed_domains") or tool.get("location"):
        raise Invalid(f"{where}: a search here has neither allowed_domains nor location", code="unsupported")
    return {"type": "web_search", "mode": mode, "context_size": size, "allowed_domains": None, "location": None}


def _short(value: str | None, where: str, most: int) -> str | None:
    if value is not None and (len(value.encode("utf-8", "replace")) > most or "\0" in value):
        raise Invalid(f"{where}: at most {most} bytes, without NUL")
    return value


def _text_changes(value: TextOptions | None, where: str) -> dict[str, Any]:
    given = value or TextOptions()
    form = given.format or TextFormat()
    if (form.type == "json_schema") != (form.schema is not None):
        raise Invalid(f"{where}.format: `schema` belongs to the type json_schema, and to no other")
    return {"schema": form.schema, "verbosity": given.verbosity or "medium"}


def _subagents(value: MultiAgent | None, where: str) -> dict[str, Any]:
    given = value or MultiAgent(enabled=False)
    if given.max_concurrent_subagents is not None and not 1 <= given.max_concurrent_subagents <= 64:
        raise Invalid(f"{where}.max_concurrent_subagents: between 1 and 64")
    return {"subagents": given.enabled, "subagents_at_once": given.max_concurrent_subagents}
