"""A shell command as the gate is asked about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from roost.policy.gate import GateCall
from roost.policy.touched_paths import command


def shell(text: str, root: Path, **more: Any) -> GateCall:
    """Return the call of a command in a workspace at `root`, private and behind a wall unless `more` says otherwise.
    `{root}` in the text stands for the folder."""
    text = text.replace("{root}", str(root)).replace("\\n", "\n")
    usual = {"safety": "high_risk", "inside": False, "private_workspace": True, "walled": True}
    return GateCall(
        session="s", call="c", tool="shell", arguments="{}", root=root, touches=command(text, root), **(usual | more)
    )
