"""Describe the tools of an agent to the gate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roost.features.coding_agents.tool_making import SECONDS, Run
from roost.log.content import Replay
from roost.policy.rules import Touches
from roost.tools.base import Tool

_ANY = {"type": "object", "additionalProperties": True}


def tool_of(name: str, replay: Replay, run: Run) -> Tool:
    """Return an agent's tool as the gate and the loop see it. Its code may do anything that the sandbox lets it do: one
    that may run again without harm counts as reading, any other as `high_risk`. What a framework handles
    by itself, such as a handoff, has no effect outside of it."""
    given: dict[str, Any] = {"name": name, "description": f"{name}, a tool of the agent", "schema": _ANY, "run": run}
    given |= {"timeout": SECONDS, "early": False}
    if replay == "safe":
        return Tool(**given, replay="safe", safety="read_only", files=False)
    return Tool(**given, replay=replay, safety="high_risk", reach=_unknown)


def _unknown(arguments: Mapping[str, Any], root: Path) -> Touches:
    return Touches(unknown=True, outside=True)
