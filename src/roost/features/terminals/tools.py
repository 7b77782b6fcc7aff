"""The agent's tools for programs that need a terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta

from roost.features.terminals.agent_terminals import NEUTRAL, AgentTerminals, named, screen_text
from roost.policy.rules import Touches
from roost.policy.touched_paths import command as touches_of
from roost.policy.touched_paths import words
from roost.tools.base import ToolContext
from roost.tools.function import tool
from roost.tools.shell import shell_program

_Terminal = Annotated[str, "the id that terminal_start returned"]
_MISSING = "no terminals can be opened here; use shell"
_FIRST = 3.0
"""Seconds to wait for the first screen."""


def _port(ctx: ToolContext) -> AgentTerminals:
    return ctx.port(AgentTerminals, _MISSING)


_EDITING = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]|![^\s=()\"'`;&|<>]|(?:\A|\n)\^|\bhistchars\b")
"""What a keyboard sends for keys that edit a line or complete it, and a shell's references to earlier lines."""
_EDITS = "it edits the line that it types: what the program gets is not known"


def _started(arguments: Mapping[str, Any], root: Path) -> Touches:
    """Effects of a command line. A shell of its own runs the files of its start, which the agent may have written."""
    line = "\n".join(words(arguments, "command"))
    return touches_of(line, root) if line.strip() else _changing(touches_of("", root))


def _typed(arguments: Mapping[str, Any], root: Path) -> Touches:
    """Effects of text that is typed: those of a command line. The program may be another one than a shell. Keys that
    edit a line make another one of it, or bring back an earlier one."""
    text = "\n".join(words(arguments, "text")).replace("\r\n", "\n")
    edits = any(named(key) not in NEUTRAL for key in _keys(arguments))
    touches = touches_of(text.rstrip("\n"), root)
    if _EDITING.search(text) or (text and edits):
        return _changing(touches, _EDITS)
    return _changing(touches) if edits else touches


def _changing(touches: Touches, *unclear: str) -> Touches:
    """Return the effects of a command that may do more than its words tell."""
    assert touches.command is not None
    found = msgspec.structs.replace(touches.command, read_only=False, unclear=(*touches.command.unclear, *unclear))
    return msgspec.structs.replace(touches, command=found, outside=True, unknown=touches.unknown or bool(unclear))


def _keys(arguments: Mapping[str, Any]) -> list[str]:
    keys = arguments.get("keys")
    return [key for key in cast("list[object]", keys) if isinstance(key, str)] if isinstance(keys, list) else []


@tool(safety="high_risk", replay="never", reach=_started)
async def terminal_start(
    ctx: ToolContext,
    command: Annotated[str, "the command line; empty: a shell"] = "",
    columns: Annotated[int, Meta(ge=20, le=300)] = 100,
    rows: Annotated[int, Meta(ge=5, le=100)] = 30,
) -> str:
    """Start a program on a terminal, such as a debugger, a REPL, an editor or an installer that asks questions. It runs
    on between your calls, and people may see it and type, too. Use shell for commands that need no terminal. Returns
    its id and its screen. Type with terminal_send."""
    argv = (shell_program(), "-c", command) if command.strip() else (shell_program(),)
    port = _port(ctx)
    one = await port.start(argv, columns, rows)
    await port.settle(one, _FIRST)
    return await screen_text(one, 0)


@tool(safety="high_risk", replay="never", reach=_typed)
async def terminal_send(
    terminal: _Terminal,
    ctx: ToolContext,
    text: Annotated[str, "typed first; whole lines are best"] = "",
    keys: Annotated[list[str], "pressed after the text: enter, tab, escape, up, page-down, ctrl-c, alt-x, f1 …"] = [],  # noqa: B006
    wait: Annotated[float, Meta(ge=0, le=60, description="seconds to wait at most for the output to pause")] = 5,
) -> str:
    """Type into a terminal, and return its screen when the output pauses. End a line with keys ["enter"]."""
    port = _port(ctx)
    one = await port.send(terminal, text.replace("\r\n", "\n"), keys)
    await port.settle(one, wait)
    return await screen_text(one, 0)


@tool(safety="read_only", replay="safe", files=False, inside=True, early=False)
async def terminal_read(
    terminal: _Terminal,
    ctx: ToolContext,
    scrollback: Annotated[int, Meta(ge=0, le=500, description="lines above the screen, too")] = 0,
) -> str:
    """What the screen of a terminal shows now."""
    return await screen_text(_port(ctx).find(terminal), scrollback)


@tool(safety="read_only", replay="safe", files=False, inside=True, early=False)
async def terminal_wait(
    terminal: _Terminal,
    ctx: ToolContext,
    text: Annotated[str, "wait until the screen shows this; empty: until the output pauses"] = "",
    seconds: Annotated[float, Meta(gt=0, le=100, description="wait at most so long")] = 30,
) -> str:
    """Wait for a program on a terminal, and return its screen. Also returns when the program ends."""
    port = _port(ctx)
    one = port.find(terminal)
    shown = await port.settle(one, seconds, text)
    missed = f"\n[the screen does not show {text!r}]" if text and not shown else ""
    return await screen_text(one, 0) + missed


@tool(safety="safe_write", replay="safe", inside=True)
async def terminal_end(terminal: _Terminal, ctx: ToolContext) -> str:
    """End a terminal and all that runs in it. Returns its last screen."""
    one = _port(ctx).find(terminal)
    await one.close("the agent ended it")
    return await screen_text(one, 0)
