"""Who may call what of a session."""

from __future__ import annotations

from fnmatch import fnmatchcase

from roost.agent.definition import AgentSpec

PROGRAM = "@program"
"""The caller that is no agent: a person or a program with a token."""
MODEL = "model"
"""The call that asks the session's model."""


def refusal(spec: AgentSpec, caller: str, tool: str) -> str:
    """Return why a call is refused; empty if it may begin. The gate judges it all the same."""
    if spec.framework is not None or spec.program is not None:
        return f"the agent {spec.name!r} works in a program of its own, which cannot be called"
    for who, tools in spec.serves.items():
        if fnmatchcase(caller, who) and any(fnmatchcase(tool, what) for what in tools):
            return ""
    return f"the agent {spec.name!r} does not serve {tool!r} to {caller!r}: its definition says so with `serves`"
