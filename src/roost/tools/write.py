"""`write_file`: write a whole file."""

from __future__ import annotations

from typing import Annotated

from roost.errors import NotFound
from roost.policy.touched_paths import writes_at
from roost.threads import finished_in_thread
from roost.tools.base import ToolContext
from roost.tools.errors import ToolError
from roost.tools.function import tool
from roost.tools.text_limits import clean
from roost.workspace.safe_paths import FileData, digest_of, read_file
from roost.workspace.safe_paths import write_file as write_bytes


@tool(safety="safe_write", replay="safe", inside=True, reach=writes_at("path"))
async def write_file(
    path: Annotated[str, "a file of the workspace; missing folders are made"],
    content: Annotated[str, "the whole new content"],
    ctx: ToolContext,
) -> str:
    """Create a file, or replace one completely. An existing file must have been read with read_file first."""
    real, digest, text = await finished_in_thread(lambda: _write(ctx, path, clean(content).encode()))
    ctx.seen[real] = digest
    return text


def _write(ctx: ToolContext, path: str, data: bytes) -> tuple[str, str, str]:
    real = ctx.workspace.resolve(path)
    try:
        current: FileData | None = read_file(ctx.workspace, real)
    except NotFound:
        current = None
    if current is not None and current.digest == digest_of(data):
        # A second attempt after a crash also gets here: nothing is left to do.
        return str(real), current.digest, f"{path} already has this content"
    if current is not None:
        must_be_known(ctx, path, str(real), current.digest)
    expected = current.digest if current else None
    digest = write_bytes(ctx.workspace, real, data, expected=expected, create_folders=True)
    return str(real), digest, f"{'Replaced' if current else 'Created'} {path} ({len(data)} bytes)"


def must_be_known(ctx: ToolContext, path: str, real: str, digest: str) -> None:
    """Raise `ToolError` unless the model has seen the current content of the file."""
    seen = ctx.seen.get(real)
    if seen is None:
        raise ToolError(f"{path!r} exists; read it with read_file before you change it")
    if seen != digest:
        raise ToolError(f"{path!r} has changed since you read it; read it again with read_file")
