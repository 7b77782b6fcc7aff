"""The built-in tools, imported when they are needed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache

from roost import registry
from roost.tools.base import Tool

_MODULES = {
    "shell": ("shell",),
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
    "calculate": ("calculate",),
}
"""Maps modules of `roost.tools` to the tools that they define."""


def homes_of(core: Mapping[str, str], features: Mapping[str, str]) -> dict[str, str]:
    """Join the modules of tools by name. Raises `TypeError` if a feature's tool has the name of another."""
    for name in core.keys() & features.keys():
        raise TypeError(f"two built-in tools have the name {name!r}: {core[name]} and {features[name]}; rename one")
    return {**core, **features}


_HOMES = homes_of(
    {name: f"roost.tools.{module}" for module, names in _MODULES.items() for name in names}, registry.tools()
)
BUILTIN = tuple(_HOMES)
"""The names of the built-in tools, those of features last."""


@cache
def builtin_tool(name: str) -> Tool | None:
    """Return a built-in tool, None for an unknown name. Imports it at first use: an agent without it does not pay."""
    if name not in _HOMES:
        return None
    found: Tool = getattr(importlib.import_module(_HOMES[name]), name)
    return found


def builtin_tools() -> dict[str, Tool]:
    """Return all built-in tools by name."""
    return {name: tool for name in BUILTIN if (tool := builtin_tool(name)) is not None}
