"""The built-in tools, imported when they are needed."""

from __future__ import annotations

import importlib
from functools import cache

from roost.tools.base import Tool

_MODULES = {
    "shell": ("shell",),
    "shell_jobs": ("shell_start", "shell_output", "shell_stop"),
    "python": ("python",),
    "read": ("read_file",),
    "write": ("write_file",),
    "edit": ("edit_file",),
    "edit_files": ("edit_files",),
    "list_files": ("list_files", "glob"),
    "grep": ("grep",),
    "code": ("analyze_code",),
    "git": ("git_read", "git_write"),
    "web.fetch": ("web_fetch",),
    "web.search": ("web_search",),
    "history": ("read_history",),
    "pins": ("pin", "unpin"),
    "plan": ("plan",),
    "calculate": ("calculate",),
    "memory": ("remember", "recall", "update_memory", "forget"),
    "agents": ("task", "cancel_task", "list_agents", "message_agent"),
}
"""Maps modules of `roost.tools` to the tools that they define."""
_HOMES = {name: module for module, names in _MODULES.items() for name in names}
BUILTIN = tuple(_HOMES)
"""The names of the built-in tools."""


@cache
def builtin_tool(name: str) -> Tool | None:
    """Return a built-in tool, None for an unknown name. Imports it at first use: an agent without it does not pay."""
    if name not in _HOMES:
        return None
    found: Tool = getattr(importlib.import_module(f"roost.tools.{_HOMES[name]}"), name)
    return found


def builtin_tools() -> dict[str, Tool]:
    """Return all built-in tools by name."""
    return {name: tool for name in BUILTIN if (tool := builtin_tool(name)) is not None}
