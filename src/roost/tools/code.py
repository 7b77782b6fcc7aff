"""`analyze_code`: outline source files without reading them whole."""

from __future__ import annotations

import asyncio
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from roost.policy.touched_paths import reads_at
from roost.sandbox.base import Quota
from roost.tools.base import ToolContext
from roost.tools.code_worker import SUFFIXES
from roost.tools.errors import ToolError
from roost.tools.function import tool
from roost.tools.grep import is_no_folder
from roost.tools.list_files import SKIPPED
from roost.workspace.walk import Walk

_SECONDS = 20.0
_FILES = 300
_OUTPUT = 40 * 1024
_FOREIGN = SKIPPED | {"node_modules", ".venv", "__pycache__", "target", "dist", "build"}
"""Folders of third-party or generated code."""


@tool(safety="read_only", replay="safe", inside=True, reach=reads_at("path", "."))
async def analyze_code(
    ctx: ToolContext,
    path: Annotated[str, "a source file, or a folder of them"] = ".",
) -> str:
    """Outline source code. Of a file: imports, classes, functions with lines and complexity, a syntax error. Of a
    folder: a line a file. Python, shell; JavaScript, TypeScript, Go, Rust, Java where their grammars are installed."""
    names, notes, many = await asyncio.to_thread(_candidates, ctx, path)
    if not names:
        raise ToolError(f"there is no source code in {path!r}; the known endings are {', '.join(SUFFIXES)}")
    plain = all(name.endswith((".py", ".pyi")) for name in names) or find_spec("tree_sitter") is None
    worker = str(Path(__file__).with_name("code_worker.py"))
    result = await ctx.sandbox.exec(
        [sys.executable, "-I", *(["-S"] if plain else []), worker, "many" if many else "one"],
        cwd=str(ctx.workspace.root),
        stdin="\0".join(names).encode("utf-8", "surrogateescape"),
        quota=Quota(wall_seconds=_SECONDS, output_bytes=_OUTPUT),
    )
    if result.killed_by or result.exit_code:
        why = "it took too long" if result.killed_by else result.stderr.strip()[-300:] or "the parser crashed"
        notes.append(f"[incomplete: {why}]")
    return "\n".join([result.stdout.rstrip("\n")] * bool(result.stdout) + notes)


def _candidates(ctx: ToolContext, path: str) -> tuple[list[str], list[str], bool]:
    """Return paths relative to the workspace, notes on omissions, and whether `path` is a folder."""
    real = ctx.workspace.resolve(path)
    if real != ctx.workspace.root and is_no_folder(ctx.workspace, real):
        if not real.name.lower().endswith(SUFFIXES):
            raise ToolError(f"{path!r} has none of the known endings: {', '.join(SUFFIXES)}")
        return [ctx.workspace.relative(real)], [], False
    base = "" if real == ctx.workspace.root else f"{ctx.workspace.relative(real)}/"
    walk = Walk(ctx.workspace, real, tool="analyze_code", skip=_FOREIGN)
    names: list[str] = []
    for entry in walk:
        if entry.size and entry.path.lower().endswith(SUFFIXES):
            if len(names) == _FILES:
                walk.incomplete.add(f"more than {_FILES} files; name a folder below")
                break
            names.append(base + entry.path)
    return names, [f"[incomplete: {what}]" for what in sorted(walk.incomplete)], True
