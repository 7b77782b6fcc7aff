"""A call that does not run, to try the gate on."""

from __future__ import annotations

from pathlib import Path

from roost.policy.gate import GateCall, Layer
from roost.policy.rules import Touches
from roost.policy.touched_paths import files
from roost.tools.base import Tool

SHOWN: tuple[Layer, ...] = ("agents", "user", "config", "project", "system", "level")
"""The layers of the gate, as people see them."""


def trial_call(name: str, tool: Tool | None, touches: Touches, root: Path, *, walled: bool) -> GateCall:
    """Return a call of a tool; None for `tool`: one that is not known here. walled: as if commands ran at isolation
    level 1 or more."""
    return GateCall(
        session="",
        call="",
        tool=name,
        arguments="",
        safety=tool.safety if tool else "high_risk",
        inside=tool.inside if tool else False,
        private_workspace=tool is not None and not tool.files,
        root=root,
        touches=touches,
        walled=walled,
    )


def touches_of_path(tool: Tool | None, path: str, root: Path) -> Touches | None:
    """Return what a call with a path touches; None for a Python tool that does not say."""
    if tool is not None and tool.function is not None and tool.reach is None:
        return None
    if tool is not None and "path" in tool.schema.get("properties", {}):
        return tool.touches({"path": path}, root)
    reads = tool is not None and tool.safety == "read_only"
    return files(root, reads=[path]) if reads else files(root, writes=[path])
