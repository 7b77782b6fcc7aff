"""The base of tools."""

from __future__ import annotations

from typing import Any


class BaseTool:
    def run(self, params: Any) -> Any:
        raise TypeError(f"{type(self).__name__} has no method run")

    def get_tool_call_format(self) -> dict[str, Any]:
        raise TypeError(f"{type(self).__name__} has no method get_tool_call_format")
