"""Agents that call others: the roster of a coordinator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from roost.agent.definition import AgentSpec, Children, encode_spec
from roost.doors.managed.requests import Asking
from roost.errors import Invalid

_TOOLS = ("task", "list_agents", "cancel_task", "message_agent")
_MOST = 20


class MemberGiven(Asking, tag_field="type", tag="agent"):
    id: str
    version: int | None = None


class SelfGiven(Asking, tag_field="type", tag="self"):
    pass


class AdvisorGiven(Asking, tag_field="type", tag="advisor"):
    model: Any = None
    name: str | None = None


Entry: TypeAlias = str | MemberGiven | SelfGiven | AdvisorGiven


class Coordinator(Asking, tag_field="type", tag="coordinator"):
    agents: Annotated[list[Entry], Meta(min_length=1, max_length=_MOST)]


class Enabled(Asking, tag_field="type", tag="enabled"):
    predefined_agents: list[Entry] | None = None
    inline_agents: Any = None


class Disabled(Asking, tag_field="type", tag="disabled"):
    pass


class Multiagent(Asking, tag_field="type", tag="multiagent_20261001"):
    advisor: Any = None
    subagents: Enabled | Disabled | None = None
    workflows: Any = None


MultiagentGiven: TypeAlias = Coordinator | Multiagent


def entries_of(given: MultiagentGiven) -> list[MemberGiven | None]:
    """Return the agents that a definition wants to call; None is itself. Raises `Invalid` for what is not here."""
    if isinstance(given, Multiagent):
        given = _coordinator(given)
    found: list[MemberGiven | None] = []
    for at, one in enumerate(given.agents):
        if isinstance(one, AdvisorGiven):
            raise Invalid(f"multiagent.agents[{at}]: there are no advisors; name an agent")
        member = None if isinstance(one, SelfGiven) else MemberGiven(one) if isinstance(one, str) else one
        if (member and member.id) in [each and each.id for each in found]:
            raise Invalid(f"multiagent.agents[{at}]: each agent once")
        found.append(member)
    return found


def _coordinator(given: Multiagent) -> Coordinator:
    """Return what a newer form says. Inline agents and workflows are on by default there, so they must be off."""
    if any(_is_on(one) for one in (given.advisor, given.workflows)) or given.workflows is None:
        raise Invalid("multiagent: there are neither advisors nor workflows; disable both, as in {'type': 'disabled'}")
    agents = given.subagents.predefined_agents if isinstance(given.subagents, Enabled) else None
    if not agents or not isinstance(given.subagents, Enabled) or not _is_off(given.subagents.inline_agents):
        raise Invalid("multiagent.subagents: enable them with `predefined_agents`, and disable `inline_agents`")
    return Coordinator(agents)


def _is_on(given: Any) -> bool:
    return given is not None and not _is_off(given)


def _is_off(given: Any) -> bool:
    return isinstance(given, dict) and given == {"type": "disabled"}


def shown_roster(members: Sequence[tuple[str, int] | None]) -> dict[str, Any]:
    """Return what is kept of a roster: each agent in its version. None: the agent itself."""
    agents = [
        {"type": "self"} if one is None else {"type": "agent", "id": one[0], "version": one[1]} for one in members
    ]
    return {"type": "coordinator", "agents": agents}


def resolved(shown: dict[str, Any] | None, name: str, version: int) -> dict[str, Any] | None:
    """Return a roster as clients see it. name, version: of the agent that has it."""
    if shown is None:
        return None
    own = {"type": "agent", "id": name, "version": version}
    return {**shown, "agents": [own if one["type"] == "self" else one for one in shown["agents"]]}


def coordinating(spec: AgentSpec, shown: dict[str, Any] | None, members: Sequence[AgentSpec]) -> AgentSpec:
    """Return a definition that may call the agents of its roster. members: their definitions."""
    if shown is None:
        return spec
    itself = (spec.name,) if any(one["type"] == "self" for one in shown["agents"]) else ()
    tools, children = (*spec.tools, *_TOOLS), Children(agents=itself, depth=1)
    return with_members(msgspec.structs.replace(spec, tools=tools, children=children, callable_by=itself), members)


def with_members(spec: AgentSpec, members: Sequence[AgentSpec]) -> AgentSpec:
    """Return a definition with the agents of its roster as they are in one session."""
    return msgspec.structs.replace(spec, roster=tuple(msgspec.json.decode(encode_spec(one)) for one in members))
