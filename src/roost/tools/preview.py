"""Preview the changes of a file tool's call, for the person who approves it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from roost.errors import Invalid, NotFound, TooLarge
from roost.log.session_views import FileDiff
from roost.tools.edit_files import Edit, FileChange, changed_file, current_file
from roost.tools.errors import ToolError
from roost.workspace.files import Workspace
from roost.workspace.tree_diff import file_diff


class _Write(msgspec.Struct):
    path: str
    content: str


class _Edit(msgspec.Struct):
    path: str
    old: str
    new: str
    replace_all: bool = False


class _Files(msgspec.Struct):
    changes: list[FileChange]


def file_diffs(workspace: Workspace, tool: str, arguments: str, seen: Mapping[str, str]) -> tuple[FileDiff, ...]:
    """Return the diffs of all files of a call of `write_file`, `edit_file` or `edit_files`, in the order of the call.

    Returns () for other tools, for a call that the tool would refuse, and where a file has no diff (binary, above 256
    KiB): then only the arguments can be shown. `seen`: digests of the files as the model knows them, by real path; the
    tools refuse to change another state, so the preview is what the call does. Blocks."""
    try:
        if workspace.private and not workspace.place.is_dir():
            return ()
        return tuple(_diff(workspace, change, seen) for change in _changes(tool, arguments))
    except (msgspec.MsgspecError, ToolError, Invalid, NotFound, TooLarge, OSError):
        return ()


def _changes(tool: str, arguments: str) -> list[FileChange]:
    match tool:
        case "write_file":
            written = msgspec.json.decode(arguments, type=_Write)
            return [FileChange(path=written.path, content=written.content)]
        case "edit_file":
            edited = msgspec.json.decode(arguments, type=_Edit)
            if not edited.old:
                raise ToolError("`old` is empty")
            edit = Edit(old=edited.old, new=edited.new, replace_all=edited.replace_all)
            return [FileChange(path=edited.path, edits=[edit])]
        case "edit_files":
            return msgspec.json.decode(arguments, type=_Files).changes
        case _:
            return []


def _diff(workspace: Workspace, change: FileChange, seen: Mapping[str, str]) -> FileDiff:
    real = workspace.resolve(change.path)
    current = current_file(workspace, real)
    known = seen.get(str(real))
    if known is not None and (current is None or current.digest != known):
        raise ToolError(f"{change.path!r} is not what the model has read")
    after, _ = changed_file(change, current)
    diff = file_diff(change.path, None if current is None else current.data, after)
    if diff is None or (not diff and (current is None) != (after is None)):  # an empty file is made or removed
        raise ToolError(f"{change.path!r} has no diff")
    return FileDiff(change.path, diff)
