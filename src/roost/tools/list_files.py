"""`list_files` and `glob`: list files of the workspace."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec

from roost.policy.touched_paths import reads_at
from roost.tools.base import ToolContext
from roost.tools.function import tool
from roost.workspace.pattern import matcher
from roost.workspace.walk import Entry, Walk, printable

_LISTED = 500
_FOUND = 1000
_HELD = "  [held back]"
SKIPPED = frozenset({".git"})
"""Folders that are shown but not entered."""


@tool(safety="read_only", replay="safe", inside=True, reach=reads_at("path", "."))
async def list_files(
    ctx: ToolContext,
    path: Annotated[str, "a folder of the workspace"] = ".",
    depth: Annotated[int, msgspec.Meta(ge=1, le=20, description="levels to show")] = 1,
) -> str:
    """List a folder: names with sizes in bytes; a folder ends with `/`, a symbolic link with `@`."""
    return await asyncio.to_thread(_list, ctx, path, depth)


def _list(ctx: ToolContext, path: str, depth: int) -> str:
    walk = Walk(ctx.workspace, ctx.workspace.resolve(path), tool="list_files", names=True, depth=depth, skip=SKIPPED)
    lines: list[str] = []
    for entry in walk:
        if len(lines) == _LISTED:
            lines.append(f"[more than {_LISTED} entries; list a folder below, or use glob]")
            break
        lines.append(_line(entry))
    return "\n".join(lines + _left_out(walk)) or "(the folder is empty)"


def _line(entry: Entry) -> str:
    name = printable(entry.path)
    shown = f"{name}/" if entry.folder else f"{name}@" if entry.link else f"{name}  {entry.size}"
    return shown + _HELD * entry.held


def _left_out(walk: Walk) -> list[str]:
    hidden = [f"[{walk.hidden} held back by the policy]"] * bool(walk.hidden)
    return hidden + [f"[incomplete: {what}]" for what in sorted(walk.incomplete)]


@tool(safety="read_only", replay="safe", inside=True, reach=reads_at("path", "."))
async def glob(
    pattern: Annotated[str, "such as '**/*.py', 'docs/*.md' or 'src/**/test_*.{js,ts}'"],
    ctx: ToolContext,
    path: Annotated[str, "the folder to search in"] = ".",
) -> str:
    """Find files by name. `*` matches within a name, `**` any number of folders. Sorted; `.git` is left out."""
    return await asyncio.to_thread(_glob, ctx, pattern, path)


def _glob(ctx: ToolContext, pattern: str, path: str) -> str:
    real = ctx.workspace.resolve(path)
    base = "" if real == ctx.workspace.root else f"{ctx.workspace.relative(real)}/"
    matches, walk = matcher(pattern), Walk(ctx.workspace, real, tool="glob", names=True, skip=SKIPPED)
    found: list[str] = []
    for entry in walk:
        if not entry.folder and matches(entry.path):
            if len(found) == _FOUND:
                walk.incomplete.add(f"more than {_FOUND} files match")
                break
            found.append(printable(base + entry.path) + _HELD * entry.held)
    nothing = f"No file matches {pattern!r}" + ("" if "**" in pattern else f"; '**/{pattern}' also looks in folders")
    return "\n".join((sorted(found) or [nothing]) + _left_out(walk))
