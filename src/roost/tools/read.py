"""`read_file`: read numbered lines of a text file."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec

from roost.policy.touched_paths import reads_at
from roost.tools.base import ToolContext
from roost.tools.errors import ToolError
from roost.tools.function import tool
from roost.workspace.safe_paths import is_binary
from roost.workspace.safe_paths import read_file as read_bytes

_LINE = 2000
_TOTAL = 48 * 1024


@tool(safety="read_only", replay="safe", inside=True, reach=reads_at("path"))
async def read_file(
    path: Annotated[str, "a file of the workspace"],
    ctx: ToolContext,
    offset: Annotated[int, msgspec.Meta(ge=1, description="first line, from 1")] = 1,
    limit: Annotated[int, msgspec.Meta(ge=1, description="most lines to return")] = 1000,
) -> str:
    """Read a text file. Each line comes with its number and a tab, which are not part of the file."""
    real, file, text = await asyncio.to_thread(_read, ctx, path, offset, limit)
    ctx.seen[real] = file
    return text


def _read(ctx: ToolContext, path: str, offset: int, limit: int) -> tuple[str, str, str]:
    real = ctx.workspace.resolve(path)
    file = read_bytes(ctx.workspace, real)
    if is_binary(file.data):
        raise ToolError(f"{path!r} is a binary file of {len(file.data)} bytes and cannot be read as text")
    return str(real), file.digest, numbered(file.data, path, offset, limit)


def numbered(data: bytes, path: str, offset: int = 1, limit: int = 1000) -> str:
    """Return lines with their numbers, as the tool does. Raises `ToolError`."""
    if not data:
        return "(the file is empty)"
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    if offset > len(lines):
        raise ToolError(f"{path!r} has {len(lines)} lines; offset {offset} is behind its end")
    shown: list[str] = []
    size = 0
    for number, line in enumerate(lines[offset - 1 : offset - 1 + limit], offset):
        text = f"{number:>6}\t{_short(line)}"
        size += len(text.encode()) + 1
        if size > _TOTAL and shown:
            break
        shown.append(text)
    last = offset + len(shown) - 1
    if offset > 1 or last < len(lines):
        rest = f"; continue with offset={last + 1}" if last < len(lines) else ""
        shown.append(f"[lines {offset} to {last} of {len(lines)}{rest}]")
    return "\n".join(shown)


def _short(line: bytes) -> str:
    text = line.rstrip(b"\r").decode("utf-8", "replace")
    return text if len(text) <= _LINE else f"{text[:_LINE]} [... {len(text) - _LINE} characters cut ...]"
