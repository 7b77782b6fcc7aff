"""Where a session may run: the tags that it needs, and those that a node offers. The store compares them.

`account:NAME`  a model account that the node can use
`agent:NAME`    the tools and the model of an agent that is written in Python
`check:NAME/C`  the hook or guardrail C of an agent that is written in Python
`folder:HOME`   a folder of the user's own on the machine of that home
`home:HOME`     the session's private files, which stay at that home
`sandbox:LEVEL` commands run at least as isolated as that level
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

import msgspec

from roost.agent.definition import Agent
from roost.errors import Conflict
from roost.kernel.resources import Agents
from roost.log.dispatch import NodeInfo

_AGENT, _CHECK, _HOME = "agent:", "check:", "home:"


class PartsUnknown(Conflict):
    """A session needs Python parts of its agent that no running node knows."""

    code = "agent_parts_unknown"

    def __init__(self, session: str, unknown: Iterable[str]) -> None:
        super().__init__(
            f"session {session!r} needs {', '.join(unknown)}, which no running node knows; start a node with the file"
            f" that defines it, or give the session the agent as it is here: roost agents move {session}"
        )


class NodeLocation(msgspec.Struct, kw_only=True):
    """The location of a node. `home`: its home's permanent id. `url`: where other nodes reach it. `shared_folders`: on
    every machine of the cluster. `files_follow`: private files are kept in a snapshot store that all nodes reach.
    `tidy`: every private folder here belongs to a session of this store, so orphans may be removed."""

    home: str = ""
    url: str | None = None
    shared_folders: tuple[Path, ...] = ()
    files_follow: bool = False
    tidy: bool = False


def needs(
    agent: Agent,
    model: str | None,
    workspace: str | None,
    place: NodeLocation,
    offered: Iterable[str],
    *,
    floor: int = 0,
) -> tuple[str, ...]:
    """Return a new session's permanent needs. `model`: the full name of its model, None for the default. `offered`: by
    any living node. `floor`: the least isolation. An account that no node has is not needed: then the session's turns
    fail with the reason, instead of waiting silently."""
    tags: list[str] = []
    account = None if agent.python.model is not None else _account(model)
    if account is not None and f"account:{account}" in offered:
        tags.append(f"account:{account}")
    tags.extend(_python_parts(agent))
    if workspace is not None:
        if not _shared(workspace, place.shared_folders):
            tags.append(f"folder:{place.home}")
    elif not place.files_follow and _works_on_files(agent):
        tags.append(f"{_HOME}{place.home}")
    if level := max(agent.isolation.required, floor):
        tags.append(f"sandbox:{level}")
    return tuple(tags)


def home_of(needs: Iterable[str]) -> str | None:
    """Return the home at which a session's private files stay, if they stay at one."""
    return next((tag.removeprefix(_HOME) for tag in needs if tag.startswith(_HOME)), None)


def offers(
    agents: Agents, accounts: Mapping[str, bool], level: int, place: NodeLocation, node: str, others: Iterable[NodeInfo]
) -> frozenset[str]:
    """Return what a node offers. The oldest living node also offers the accounts that no node has: a session that needs
    one learns it from its failed turn."""
    there = [one.card for one in others if one.alive and one.card.id != node]
    tags = {f"account:{name}" for name, usable in accounts.items() if usable}
    if node < min((card.id for card in there if not card.draining), default="~"):
        missing = {f"account:{name}" for name, usable in accounts.items() if not usable}
        tags |= missing.difference(*(card.offers for card in there))
    tags |= python_parts(agents)
    tags |= {f"folder:{place.home}", f"{_HOME}{place.home}"}
    tags |= {f"sandbox:{lower}" for lower in range(level + 1)}
    return frozenset(tags)


def python_parts(agents: Agents) -> set[str]:
    """Return the tags of the Python agents that a node knows."""
    return {tag for agent in agents.every() for tag in _python_parts(agent)}


def _python_parts(agent: Agent) -> list[str]:
    own = [f"{_AGENT}{agent.name}"] if agent.python.model is not None or agent.python.tools else []
    return [*own, *(f"{_CHECK}{agent.name}/{check}" for check in agent.python.checks)]


def unknown_parts(needed: Iterable[str], offered: Container[str]) -> list[str]:
    """Return the needed Python parts that are not `offered`, in words for people."""
    missing = [tag for tag in needed if tag.startswith((_AGENT, _CHECK)) and tag not in offered]
    return [_named(tag) for tag in missing]


def _named(tag: str) -> str:
    if tag.startswith(_AGENT):
        return f"the Python part of agent {tag.removeprefix(_AGENT)!r}"
    agent, _, check = tag.removeprefix(_CHECK).partition("/")
    return f"the hook or guardrail {check!r} of agent {agent!r}"


def _account(model: str | None) -> str | None:
    """Return a model's account; None for the default model and for a URL, which all nodes reach alike."""
    if model is None or "://" in model:
        return None
    return model.partition("/")[0]


def _works_on_files(agent: Agent) -> bool:
    return any(tool.files for tool in agent.python.toolbox(agent.tools).values())


def _shared(folder: str, shared: Iterable[Path]) -> bool:
    real = Path(os.path.realpath(folder))
    return any(real.is_relative_to(os.path.realpath(one)) for one in shared)
