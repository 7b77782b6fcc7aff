"""Definitions of agents as clients write and read them."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from roost.agent.definition import AgentSpec
from roost.doors.managed.agent_tools import AgentTools, ToolGiven, agent_tools
from roost.doors.managed.mcp_toolsets import ServerGiven, shown_servers
from roost.doors.managed.multiagent import MultiagentGiven, resolved
from roost.doors.managed.requests import (
    Asking,
    Metadata,
    MetadataPatch,
    maybe_stamp,
    metadata_of,
    patched,
    stamp,
    text_within,
)
from roost.doors.managed.skills import SkillGiven, names_of, versions_of, without_names
from roost.errors import Invalid
from roost.features.definitions.definitions import Definition
from roost.models.request import Effort

_EFFORTS: dict[str, Effort] = {"low": "low", "medium": "medium", "high": "high", "xhigh": "max", "max": "max"}
_NAME, _DESCRIPTION, _SYSTEM = 256, 2048, 100_000
EffortName: TypeAlias = Literal["low", "medium", "high", "xhigh", "max"]


class EffortGiven(Asking):
    type: EffortName


class ModelGiven(Asking):
    id: str
    effort: EffortName | EffortGiven | None = None
    inference_geo: str | None = None
    speed: Literal["standard", "fast"] | None = None


class IdentityGiven(Asking):
    type: str
    role_arn: str | None = None


class AgentGiven(Asking):
    name: str
    model: str | ModelGiven
    description: str | None = None
    system: str | None = None
    tools: list[ToolGiven] | None = None
    metadata: Metadata | None = None
    mcp_servers: list[ServerGiven] | None = None
    skills: list[SkillGiven] | None = None
    multiagent: MultiagentGiven | None = None
    execution_identity: IdentityGiven | None = None


class AgentPatch(Asking):
    """A change: what is left out stays."""

    version: int | UnsetType = UNSET
    name: str | UnsetType = UNSET
    model: str | ModelGiven | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    system: str | UnsetType | None = UNSET
    tools: list[ToolGiven] | UnsetType | None = UNSET
    metadata: MetadataPatch | UnsetType | None = UNSET
    mcp_servers: list[ServerGiven] | UnsetType | None = UNSET
    skills: list[SkillGiven] | UnsetType | None = UNSET
    multiagent: MultiagentGiven | UnsetType | None = UNSET
    execution_identity: IdentityGiven | UnsetType | None = UNSET


def shown_agent(given: AgentGiven) -> dict[str, Any]:
    """Return what clients see of a new agent. Raises `Invalid`."""
    check_identity(given.execution_identity)
    servers = shown_servers(given.mcp_servers)
    return {
        "name": text_within(given.name, "name", _NAME),
        "description": _within(given.description, "description", _DESCRIPTION),
        "model": shown_model(given.model),
        "system": _within(given.system, "system", _SYSTEM),
        "tools": agent_tools(given.tools or [], given.mcp_servers or ()).shown,
        "mcp_servers": servers,
        "metadata": metadata_of(given.metadata),
    }


def patched_agent(shown: dict[str, Any], patch: AgentPatch) -> dict[str, Any]:
    """Return what clients see of an agent after a change. Raises `Invalid`."""
    check_identity(None if patch.execution_identity is UNSET else patch.execution_identity)
    after = {**shown, "metadata": patched(shown["metadata"], patch.metadata)}
    if patch.name is not UNSET:
        after["name"] = text_within(patch.name, "name", _NAME)
    if patch.model is not UNSET:
        after["model"] = shown_model(patch.model)
    if patch.description is not UNSET:
        after["description"] = _within(patch.description, "description", _DESCRIPTION)
    if patch.system is not UNSET:
        after["system"] = _within(patch.system, "system", _SYSTEM)
    if patch.mcp_servers is not UNSET:
        after["mcp_servers"] = shown_servers(patch.mcp_servers)
    if patch.tools is not UNSET:
        after["tools"] = agent_tools(patch.tools or [], _servers_of(after)).shown
    elif patch.mcp_servers is not UNSET:
        tools_of(after)  # its toolsets still name servers
    return after


def check_identity(identity: IdentityGiven | None) -> None:
    """Raises `Invalid` for an identity that an agent does not have here."""
    if identity is not None and identity.type != "service_account":
        raise Invalid("execution_identity: an agent runs as the daemon; only type 'service_account' says so")


def shown_model(given: str | ModelGiven) -> dict[str, Any]:
    model = ModelGiven(given) if isinstance(given, str) else given
    if model.speed == "fast":
        raise Invalid("model.speed: Roost knows no faster variants of models; leave it out")
    if model.inference_geo is not None:
        raise Invalid("model.inference_geo: the account of the model says where it runs; leave it out")
    found: dict[str, Any] = {"id": text_within(model.id, "model", _NAME), "speed": "standard"}
    if model.effort is not None:
        found["effort"] = {"type": model.effort if isinstance(model.effort, str) else model.effort.type}
    return found


def tools_of(shown: dict[str, Any]) -> AgentTools:
    """Return the tools of an agent, by what clients see of it. Raises `Invalid`."""
    return agent_tools(msgspec.convert(shown["tools"], list[ToolGiven]), _servers_of(shown))


def _servers_of(shown: dict[str, Any]) -> list[ServerGiven]:
    return msgspec.convert(shown.get("mcp_servers", []), list[ServerGiven])


def spec_of(name: str, shown: dict[str, Any], model: str) -> AgentSpec:
    """Return Roost's definition of an agent. model: what its model's name means here."""
    tools = tools_of(shown)
    more: dict[str, Any] = {} if shown["system"] is None else {"instructions": shown["system"]}
    if effort := shown["model"].get("effort"):
        more["effort"] = _EFFORTS[effort["type"]]
    return AgentSpec(
        name,
        description=(shown["description"] or shown["name"])[:1000],
        model=model,
        tools=tools.names,
        rules=tools.rules,
        permissions=tools.permissions,
        servers=tools.servers,
        skills=names_of(shown.get("skills", [])),
        uploaded_skills=versions_of(shown.get("skills", [])),
        **more,
    )


def session_agent(name: str, version: int, shown: dict[str, Any]) -> dict[str, Any]:
    """Return an agent as a session shows it. What a session keeps has the definitions of a roster."""
    members = shown.get("roster")
    roster = {"type": "coordinator", "agents": members} if members else None
    return {
        "type": "agent",
        "id": name,
        "version": version,
        "name": shown["name"],
        "description": shown["description"],
        "model": shown["model"],
        "system": shown["system"],
        "tools": shown["tools"],
        "mcp_servers": shown.get("mcp_servers", []),
        "skills": without_names(shown.get("skills", [])),
        "multiagent": roster or resolved(shown.get("multiagent"), name, version),
        "execution_identity": {"type": "service_account"},
    }


def agent_view(one: Definition) -> dict[str, Any]:
    return {
        **session_agent(one.name, one.version, one.shown),
        "metadata": one.shown["metadata"],
        "created_at": stamp(one.created),
        "updated_at": stamp(one.changed),
        "archived_at": maybe_stamp(one.archived),
    }


def file_agent(spec: AgentSpec) -> dict[str, Any]:
    """Return what clients see of an agent that this node knows from a file."""
    return {
        "name": spec.name,
        "description": spec.description or None,
        "model": {"id": spec.model or "default", "speed": "standard"},
        "system": spec.instructions,
        "tools": [],
        "metadata": {},
    }


def _within(value: str | None, name: str, most: int) -> str | None:
    return None if value is None else text_within(value, name, most, 0)
