"""Try the policy of this node on a call."""

from __future__ import annotations

import asyncio
from pathlib import Path

from roost.agent.definition import Agent
from roost.api.policy import Decided, LayerSays, PolicyApi
from roost.authority import current
from roost.errors import Forbidden, Invalid
from roost.policy.question_parts import dangers
from roost.policy.rules import Touches
from roost.policy.touched_paths import command as touched_by
from roost.runtime import Runtime
from roost.tools.base import Tool
from roost.tools.builtin import builtin_tool
from roost.tools.call_trial import SHOWN, touches_of_path, trial_call

_NOWHERE = Path("/workspace")
"""Stands for the private folder of a session."""


class PolicyService(PolicyApi):
    def __init__(self, runtime: Runtime) -> None:
        self._node = runtime.node

    async def check(
        self,
        *,
        agent: str = "assistant",
        command: str | None = None,
        path: str | None = None,
        tool: str | None = None,
        workspace: str | None = None,
        walled: bool = False,
    ) -> Decided:
        if (command is None) == (path is None):
            raise Invalid("give either a `command` or a `path`")
        if workspace is not None and current().confined:
            raise Forbidden("an account has no folders on this machine: leave `workspace` out")
        if workspace is not None and not Path(workspace).is_absolute():
            raise Invalid(f"the workspace {workspace[:200]!r} is no absolute path")
        known = await self._node.agents.resolve(agent)
        try:
            return await asyncio.to_thread(self._decided, known, tool, command, path, workspace, walled)
        except (OSError, ValueError) as error:  # a path that this machine cannot read, or that no system knows
            raise Invalid(f"the path cannot be read here: {error}") from None

    def _decided(
        self, agent: Agent, name: str | None, command: str | None, path: str | None, workspace: str | None, walled: bool
    ) -> Decided:
        name = name or ("shell" if command is not None else "write_file")
        tool = agent.python.tools.get(name) or builtin_tool(name)
        root = _NOWHERE if workspace is None else Path(workspace)
        touches = touched_by(command, root) if command is not None else _of_path(tool, path or "", root)
        gate = self._node.resources.gate(agent.spec, workspace)
        call = trial_call(name, tool, touches, root, walled=walled)
        verdict = gate.decide(call)
        said = [(layer, gate.of_layer(layer, call)) for layer in SHOWN]
        return Decided(
            decision=verdict.decision,
            reason=verdict.reason,
            layer=verdict.layer,
            rule=verdict.rule,
            layers=[
                LayerSays(layer=layer)
                if one is None
                else LayerSays(layer=layer, decision=one.decision, reason=one.reason, rule=one.rule)
                for layer, one in said
            ],
            dangers=[f"{one.text}: {one.why}" for one in dangers(touches)],
        )


def _of_path(tool: Tool | None, path: str, root: Path) -> Touches:
    """Raises `Invalid` for a Python tool that does not say what it touches."""
    found = touches_of_path(tool, path, root)
    if found is None:
        name = "" if tool is None else tool.name
        raise Invalid(f"the tool {name!r} has no `reach`: the gate does not know which files a call touches")
    return found
