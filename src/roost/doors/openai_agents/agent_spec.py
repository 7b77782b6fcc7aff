"""Make Roost's definition of an agent from its configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from roost.agent.default_agent import default_agent
from roost.agent.definition import Agent, AgentSpec, Children
from roost.authority import current
from roost.doors.models import agent_of, model_of
from roost.doors.openai_agents.agent_config import AgentConfig
from roost.doors.openai_agents.environment_config import Kind
from roost.doors.requested import capped, narrowed
from roost.errors import Invalid
from roost.models.request import Effort
from roost.server.app_state import Api
from roost.validated import WrongValue

_EFFORT: dict[str, Effort] = {
    "none": "off",
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
}
_DELEGATES = ("task", "list_agents", "cancel_task", "message_agent")
_WEB = ("web_search", "web_fetch")


async def agent_for(
    api: Api,
    config: AgentConfig,
    name: str,
    *,
    kind: Kind = "openai_hosted",
    spend: float | None = None,
    hosts: Sequence[str] | None = None,
    vaults: Sequence[str] = (),
) -> Agent:
    """Return the agent of a configuration. A `model` that names an agent here means this agent, with its model,
    instructions and tools; else it is the built-in agent with this model. name: of the agent, unless it is one of this
    node's. spend: US dollars that its session may cost at most. hosts: that its commands reach; None for those of the
    definition. vaults: whose credentials it uses. An agent here gets no more than its definition allows, and an account
    no hosts for the built-in agent. Raises `NotFound` (`unknown_model`), `Invalid`."""
    known = agent_of(api, config.model)
    base = default_agent() if known is None else api.runtime.agents.get(known)
    fixed = base.spec != default_agent().spec
    name = name if known is None else base.name
    python = base.python
    if fixed:
        _check_tools(base, config)
    tools = [one for one in base.tools if kind != "none" or not _works_on_files(base, one)]
    tools += [one for one in _WEB if not fixed and config.has("web_search")]
    own = fixed and current().confined
    tools += [one for one in _DELEGATES if config.subagents and not own and one not in tools]
    if both := [one["name"] for one in config.functions if one["name"] in tools]:
        raise Invalid(f"tools: the agent has tools of these names itself: {', '.join(both)}")
    spec = AgentSpec.of_values({field: getattr(base, field) for field in AgentSpec.__struct_fields__})
    changes: dict[str, Any] = {
        "name": name,
        "model": base.model if known is not None else (await model_of(api, config.model)).name,
        "tools": tuple(tools),
        "instructions": "\n\n".join(one for one in (base.instructions, config.instructions) if one),
        "effort": base.effort if config.effort is None else _EFFORT[config.effort],
        "environment": _told(base, config, kind),
        "limits": capped(base.limits, spend),
        "servers": (*base.servers, *config.servers),
        "vaults": (*base.vaults, *vaults),
    }
    if hosts is not None:
        within = fixed or current().confined
        changes["isolation"] = narrowed(base.isolation, hosts, within=within)
    if config.verbosity != "medium":
        changes["knobs"] = {**base.knobs, "verbosity": config.verbosity}
    if config.subagents and not own:
        children = base.children or Children()
        more = children.agents if name in children.agents else (*children.agents, name)
        at_once = config.subagents_at_once or children.at_once
        changes["children"] = msgspec.structs.replace(children, agents=more, at_once=at_once)
        changes["callable_by"] = (*base.callable_by, name)
    try:
        return Agent.of(msgspec.structs.replace(spec, **changes), python)
    except WrongValue as error:
        raise Invalid(str(error)) from None


def _check_tools(agent: Agent, config: AgentConfig) -> None:
    """Refuse tools that an agent of this node lacks. Raises `Invalid`."""
    if config.has("web_search") and "web_search" not in agent.tools:
        raise Invalid(f"tools: the agent {agent.name!r} has no web_search, and gets none", code="unsupported")
    if config.servers and current().confined:
        raise Invalid(f"tools: the agent {agent.name!r} gets no further MCP servers", code="unsupported")
    names = {one if isinstance(one, str) else one.name for one in agent.servers}
    if both := [one.name for one in config.servers if one.name in names]:
        raise Invalid(f"tools: the agent {agent.name!r} has a server {both[0]!r} itself")
    if config.subagents and current().confined and "task" not in agent.tools:
        raise Invalid(f"multi_agent: the agent {agent.name!r} gives no tasks to others", code="unsupported")


def _works_on_files(base: Agent, tool: str) -> bool:
    found = base.python.toolbox([tool]).get(tool)
    return found is not None and found.files


def _told(base: Agent, config: AgentConfig, kind: Kind) -> tuple[str, ...]:
    told = [one for one in base.environment if kind != "none" or one != "files"]
    if config.time_awareness and "clock" not in told:
        told.append("clock")
    return tuple(told)
