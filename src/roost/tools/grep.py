"""`grep`: search in files.

The search runs in a process of its own: a catastrophic pattern holds Python's lock for as long as it takes, so it would
stop the daemon, and no thread of the daemon could stop it. Where ripgrep is installed and the files are many, it first
selects those that contain a text without which the pattern cannot match; Python does the matching either way, so the
same search gives the same answer on every machine.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path
from typing import Annotated

import msgspec

from roost.policy.touched_paths import reads_at
from roost.sandbox.base import Quota
from roost.tools.base import ToolContext
from roost.tools.errors import ToolError
from roost.tools.function import tool
from roost.tools.list_files import SKIPPED
from roost.tools.ripgrep import likely
from roost.tools.text_limits import clean
from roost.workspace.files import Workspace
from roost.workspace.pattern import matcher
from roost.workspace.safe_paths import explained, open_folder
from roost.workspace.walk import Walk

_SECONDS = 10.0
_FILES = 50_000
_MATCHES = 200


@tool(safety="read_only", replay="safe", inside=True, reach=reads_at("path", "."))
async def grep(
    pattern: Annotated[str, msgspec.Meta(min_length=1, max_length=1000, description="a regular expression (Python's)")],
    ctx: ToolContext,
    path: Annotated[str, "a file or folder of the workspace"] = ".",
    files: Annotated[str | None, "only files that match this glob, such as '*.py'"] = None,
    context: Annotated[int, msgspec.Meta(ge=0, le=20, description="lines to show around a match")] = 0,
    ignore_case: bool = False,
) -> str:
    """Search file contents line by line. Lines come as `path:line: text`. Binary files and `.git` are left out."""
    names, notes = await asyncio.to_thread(_candidates, ctx, path, files)
    names = await likely(ctx, names, path, clean(pattern), ignore_case=ignore_case)
    options = [str(context), str(_MATCHES), "i" if ignore_case else "-", clean(pattern)]
    result = await ctx.sandbox.exec(
        [sys.executable, "-I", "-S", str(Path(__file__).with_name("grep_worker.py")), *options],
        cwd=str(ctx.workspace.root),
        stdin="\0".join(names).encode("utf-8", "surrogateescape"),
        quota=Quota(wall_seconds=_SECONDS, output_bytes=60 * 1024),
    )
    if result.killed_by:
        notes.append(f"[stopped after {result.seconds:.0f} s: simplify the pattern or search in fewer files]")
    elif result.exit_code:
        raise ToolError(f"the search failed: {result.stderr[-500:].strip()}")
    found = result.stdout.rstrip("\n")
    return "\n".join([found] * bool(found) + notes) or "No match"


def _candidates(ctx: ToolContext, path: str, files: str | None) -> tuple[list[str], list[str]]:
    """Return paths relative to the workspace, and notes on omissions."""
    real = ctx.workspace.resolve(path)
    if real != ctx.workspace.root and is_no_folder(ctx.workspace, real):
        return [ctx.workspace.relative(real)], []
    if files is not None and "/" not in files:
        files = f"**/{files}"
    wanted = matcher(files) if files else None
    base = "" if real == ctx.workspace.root else f"{ctx.workspace.relative(real)}/"
    walk = Walk(ctx.workspace, real, tool="grep", skip=SKIPPED)
    names: list[str] = []
    for entry in walk:
        if entry.size and (wanted is None or wanted(entry.path)):
            if len(names) == _FILES:
                walk.incomplete.add(f"more than {_FILES} files")
                break
            names.append(base + entry.path)
    return names, [f"[incomplete: {what}]" for what in sorted(walk.incomplete)]


def is_no_folder(workspace: Workspace, real: Path) -> bool:
    with explained(workspace.relative(real)), open_folder(workspace, real.parent) as parent:
        return not stat.S_ISDIR(os.stat(real.name, dir_fd=parent, follow_symlinks=False).st_mode)
