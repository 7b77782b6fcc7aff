"""The table of coding agents: one module for each."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from roost.features.coding_agents.program import Program

MODULES = {"claude-code": "claude_code", "codex": "codex", "gemini": "gemini", "opencode": "opencode", "pi": "pi"}


def program_of(name: str) -> Program:
    """Return the row of a program."""
    return cast("Program", import_module(f"{__name__}.{MODULES[name]}").PROGRAM)
