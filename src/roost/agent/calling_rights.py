"""Which agents an agent may call: both definitions must allow it."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec

from roost.agent.definition import AgentSpec


def why_not(caller: AgentSpec, callee: AgentSpec) -> str | None:
    """Return why `caller` may not call `callee`, or None."""
    asks = caller.children.agents if caller.children is not None else ()
    if not _fits(callee.name, asks):
        return f"`children.agents` of {caller.name!r} names no {callee.name!r}"
    if not _fits(caller.name, callee.callable_by):
        return f"`callable_by` of {callee.name!r} names no {caller.name!r}"
    return None


def callees(caller: AgentSpec, agents: Sequence[AgentSpec]) -> list[AgentSpec]:
    """Return those that the caller may call: of its roster, and of `agents`. A definition that may call itself is
    one of them, also where no node knows an agent of its name."""
    found = [msgspec.convert(one, AgentSpec) for one in caller.roster]
    pinned = {one.name for one in found}
    found += [one for one in agents if one.name not in pinned and why_not(caller, one) is None]
    if why_not(caller, caller) is None and all(one.name != caller.name for one in found):
        found.append(caller)
    return found


def refusal(caller: AgentSpec, callee: str, agents: Sequence[AgentSpec]) -> str | None:
    """Return why the agent named `callee` may not be called, for the caller's model; None if it may."""
    names = [one.name for one in callees(caller, agents)]
    if callee in names:
        return None
    there = f"those are: {', '.join(names)}" if names else "there is none"
    return f"there is no agent {callee!r} that you may call; {there}"


def _fits(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
