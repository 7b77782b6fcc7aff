"""`edit_files`: change several files together, all or none.

Safe to repeat: the change carries the call's idempotency key, and the workspace's notes show a second attempt that the
first was finished. A change that a crash interrupted is finished or undone before the second attempt begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec

from roost.errors import NotFound
from roost.policy.rules import Touches
from roost.policy.touched_paths import files
from roost.threads import finished_in_thread
from roost.tools.base import ToolContext
from roost.tools.edit import replaced, with_line_ends
from roost.tools.errors import ToolError
from roost.tools.function import tool
from roost.tools.text_limits import clean
from roost.tools.write import must_be_known
from roost.workspace.atomic_edits import Change, applied, change, recover
from roost.workspace.files import Workspace
from roost.workspace.safe_paths import FileData, is_binary, read_file

_FILES = 50
_EDITS = 100


class Edit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    old: Annotated[str, msgspec.Meta(min_length=1, description="the exact text to replace; it must occur once")]
    new: Annotated[str, msgspec.Meta(description="the text to put in its place")]
    replace_all: bool = False


class FileChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: Annotated[str, msgspec.Meta(description="a file of the workspace")]
    edits: Annotated[list[Edit], msgspec.Meta(max_length=_EDITS, description="done one after the other")] = []
    content: Annotated[str | None, msgspec.Meta(description="instead of edits: the whole new content")] = None
    remove: Annotated[bool, msgspec.Meta(description="instead of edits: remove the file")] = False


def _reach(arguments: Mapping[str, Any], root: Path) -> Touches:
    given = arguments.get("changes")
    changes = cast("list[object]", given) if isinstance(given, list) else []
    paths = [cast("dict[str, object]", one).get("path") for one in changes if isinstance(one, dict)]
    return files(root, writes=[path for path in paths if isinstance(path, str)])


@tool(safety="safe_write", replay="safe", inside=True, reach=_reach)
async def edit_files(
    changes: Annotated[list[FileChange], msgspec.Meta(min_length=1, max_length=_FILES)],
    ctx: ToolContext,
) -> str:
    """Change several files together: all of them, or none if one cannot be changed. Each is given exact edits, or its
    whole new content, or is removed. Files that exist must have been read with read_file first."""
    digests, text = await finished_in_thread(lambda: _change(ctx, changes))
    for path, digest in digests.items():
        if digest is None:
            ctx.seen.pop(str(path), None)
        else:
            ctx.seen[str(path)] = digest
    return text


def _change(ctx: ToolContext, changes: list[FileChange]) -> tuple[dict[Path, str | None], str]:
    notes = ctx.workspace.notes
    if notes is None:
        raise ToolError("files cannot be changed together here; use edit_file and write_file, one file at a time")
    if ctx.attempt > 1:
        recover(ctx.workspace, notes)
        done = applied(ctx.workspace, notes, ctx.key)
        if done is not None:
            return done, f"Changed {len(done)} files (in an earlier attempt)"
    planned = [_planned(ctx, one) for one in changes]
    digests = change(ctx.workspace, [one for one, _ in planned], notes, key=ctx.key)
    return digests, "\n".join(said for _, said in planned)


def _planned(ctx: ToolContext, wanted: FileChange) -> tuple[Change, str]:
    """Return the change of one file, and the text for the model once it is made."""
    real = ctx.workspace.resolve(wanted.path)
    current = current_file(ctx.workspace, real)
    if current is not None:
        must_be_known(ctx, wanted.path, str(real), current.digest)
    data, said = changed_file(wanted, current)
    return Change(real, data, current.digest if current else None), said


def changed_file(wanted: FileChange, current: FileData | None) -> tuple[bytes | None, str]:
    """Apply the change to the current file (None: there is none). Returns the new bytes, or None to remove the file,
    and the text for the model. Raises `ToolError`."""
    if sum((bool(wanted.edits), wanted.content is not None, wanted.remove)) != 1:
        raise ToolError(f"{wanted.path!r}: give one of `edits`, `content` and `remove`")
    if wanted.content is not None:
        data = clean(wanted.content).encode()
        return data, f"{'Replaced' if current else 'Created'} {wanted.path} ({len(data)} bytes)"
    if current is None:
        raise ToolError(f"{wanted.path!r} does not exist; give `content` to make it")
    if wanted.remove:
        return None, f"Removed {wanted.path}"
    data, count = _edited(wanted, current)
    return data, f"Edited {wanted.path} ({count} replacement{'s' if count > 1 else ''})"


def current_file(workspace: Workspace, real: Path) -> FileData | None:
    """Read the file; None where there is none."""
    try:
        return read_file(workspace, real)
    except NotFound:
        return None


def _edited(wanted: FileChange, current: FileData) -> tuple[bytes, int]:
    if is_binary(current.data):
        raise ToolError(f"{wanted.path!r} is a binary file; it cannot be edited as text")
    data, total = current.data, 0
    for edit in wanted.edits:
        old, new = with_line_ends(data, clean(edit.old).encode(), clean(edit.new).encode())
        data, count = replaced(wanted.path, data, old, new, edit.replace_all)
        total += count
    return data, total
