"""Tools by their names."""

from __future__ import annotations

import importlib
from typing import Any


class AutoTool:
    """Tools in the folder `tools` beside the agent's code."""

    @classmethod
    def from_preloaded(cls, tool_name: str, local: bool = False) -> Any:
        return importlib.import_module("roost_bridge.aios_tools").load(tool_name)

    @classmethod
    def from_batch_preloaded(cls, tool_names: list[str]) -> list[Any]:
        return [cls.from_preloaded(name) for name in tool_names]
