"""`search_files`, `file_history`, `restore_file`, `share_file`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from roost.features.files.behaviour import CallFiles
from roost.features.files.protocols import FileHit, FoundFiles
from roost.policy.rules import Touches
from roost.policy.touched_paths import files, reads_at, words, writes_at
from roost.tools.base import ToolContext
from roost.tools.function import tool

_LINK_SECONDS = 86_400.0
_Path = Annotated[str, Meta(description="a file of the workspace")]


def _files(context: ToolContext) -> CallFiles:
    return context.port(CallFiles, "files cannot be searched here")


@tool(safety="read_only", replay="safe", inside=True, reach=reads_at("path", "."))
async def search_files(
    context: ToolContext,
    query: Annotated[str, Meta(min_length=1, max_length=1000, description="words, or what the file is about")],
    path: Annotated[str, "search only in this folder"] = ".",
    exact: Annotated[bool, "only files with these words, not those that mean something like them"] = False,
    limit: Annotated[int, Meta(ge=1, le=50)] = 10,
) -> str:
    """Find files by words and by meaning, best first: path, lines and a piece of text. Read a file before you rely on
    it."""
    found = await _files(context).search(query, "words" if exact else "hybrid", path, limit)
    return shown(found)


def shown(found: FoundFiles) -> str:
    """Return a result as the model reads it."""
    lines = [_hit(one) for one in found.hits] or ["nothing fits"]
    if found.why is not None:
        lines.append(f"[{'searched by words alone' if found.how == 'words' else 'perhaps not all'}: {found.why}]")
    return "\n".join(lines)


def _hit(one: FileHit) -> str:
    where = f"{one.path}:{one.first}-{one.last}" if one.first else one.path
    day = time.strftime("%Y-%m-%d", time.gmtime(one.modified))
    head = f"{where}  ({one.size} bytes, changed {day})"
    return "\n".join([head, *(f"    {line[:300]}" for line in one.snippet.split("\n") if line.strip())])


@tool(safety="read_only", replay="safe", inside=True, reach=reads_at("path"))
async def file_history(context: ToolContext, path: _Path) -> str:
    """List the versions of a file over the checkpoints, the newest first, each with the position to restore it from."""
    versions = await _files(context).versions(path)
    lines = [
        f"{'now' if one.at is None else one.at}: {one.change}"
        + (f", {one.size} bytes" if one.size is not None else "")
        + (f", checkpoint {one.label}" if one.label else "")
        for one in versions
    ]
    return "\n".join(lines) or "no checkpoint has this file"


@tool(safety="safe_write", replay="safe", inside=True, reach=writes_at("path"))
async def restore_file(
    context: ToolContext,
    path: _Path,
    version: Annotated[str, "the position or the label of a checkpoint, as file_history shows it"],
) -> str:
    """Put one file back to an earlier version. Other files stay as they are."""
    what, size, to = await _files(context).restore(path, version)
    context.seen.pop(str(context.workspace.resolve(path)), None)
    return (
        f"{path} is removed: it did not exist at {to}" if what == "removed" else f"{path} is as at {to}: {size} bytes"
    )


def _shares(arguments: Mapping[str, Any], root: Path) -> Touches:
    read = files(root, reads=words(arguments, "path"))
    return Touches(reads=read.reads, unknown=read.unknown, outside=True)


@tool(safety="high_risk", replay="safe", reach=_shares, early=False)
async def share_file(
    context: ToolContext,
    path: _Path,
    hours: Annotated[float, Meta(gt=0, le=2160, description="how long the link holds")] = _LINK_SECONDS / 3600,
) -> str:
    """Make a link from which everybody who has it can download a copy of a file, as it is now, until the link expires.
    A person can revoke it."""
    made = await _files(context).share(path, hours * 3600)
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(made.expires))
    return f"{made.path} on this daemon's address, until {until}; `roost files unshare {made.id}` ends it"
