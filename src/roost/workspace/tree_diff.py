"""Compare two trees of files, with unified diffs of text."""

from __future__ import annotations

import difflib
import io
import time
from typing import Literal

from roost.workspace.changes import Changes, FileChange, FileState
from roost.workspace.manifest import order
from roost.workspace.snapshots import Entry, View
from roost.workspace.views import leaves, same

MOST_CHANGES = 1000
_FILE_BYTES = 256 * 1024
_FILE_LINES = 5000
_TEXT = 1024 * 1024
_SECONDS = 5.0
_LOOK = 8000
"""Bytes in which a zero byte makes a file binary, as in git."""
_NO_NEWLINE = "\n\\ No newline at end of file\n"


def compare(before: View, after: View) -> Changes:
    """Compare two views. Diffs are omitted for files above 256 KiB or 5,000 lines, and for all files once the diffs
    have 1 MiB together or took 5 seconds. Blocks. Raises `OSError`, `ObjectsFailed`, `SnapshotDamaged`."""
    old, new = before.entries.keys(), after.entries.keys()
    kinds: dict[bytes, Literal["added", "removed", "changed"]] = {
        **dict.fromkeys(leaves(new - old, after), "added"),
        **dict.fromkeys(leaves(old - new, before), "removed"),
        **{path: "changed" for path in sorted(old & new, key=order) if not _same(before, after, path)},
    }
    work = _Diffs(before, after)
    listed = sorted(kinds, key=order)[:MOST_CHANGES]
    found = list(kinds.values())
    return Changes(
        changes=[work.change(path, kinds[path]) for path in listed],
        added=found.count("added"),
        removed=found.count("removed"),
        changed=found.count("changed"),
    )


def _same(before: View, after: View, path: bytes) -> bool:
    try:
        return same(before, after, path)
    except OSError:  # not readable, or removed by now
        return False


class _Diffs:
    def __init__(self, before: View, after: View) -> None:
        self._before, self._after = before, after
        self._left = _TEXT
        self._until = time.monotonic() + _SECONDS

    def change(self, path: bytes, change: Literal["added", "removed", "changed"]) -> FileChange:
        old, new = self._before.entries.get(path), self._after.entries.get(path)
        name = path.decode("utf-8", "backslashreplace")
        diff, why = None, None
        if any(one is not None and one.kind != "folder" for one in (old, new)):
            diff, why = self._diff(path, name, old, new)
        return FileChange(
            path=name, change=change, before=_state(old), after=_state(new), diff=diff or None, why_no_diff=why
        )

    def _diff(
        self, path: bytes, name: str, old: Entry | None, new: Entry | None
    ) -> tuple[str | None, Literal["binary", "too_large", "limit", "unreadable"] | None]:
        if any(one is not None and one.size > _FILE_BYTES for one in (old, new)):
            return None, "too_large"
        try:
            ours, theirs = _bytes(self._before, path, old), _bytes(self._after, path, new)
        except OSError:
            return None, "unreadable"
        was, now = _lines(ours), _lines(theirs)
        if was is None or now is None:
            return None, "binary"
        if max(len(was), len(now)) > _FILE_LINES:
            return None, "too_large"
        if self._left <= 0 or time.monotonic() > self._until:
            return None, "limit"
        diff = _unified(name, None if old is None else was, None if new is None else now)
        if len(diff) > self._left:
            self._left = 0
            return None, "limit"
        self._left -= len(diff)
        return diff, None


def file_diff(name: str, before: bytes | None, after: bytes | None) -> str | None:
    """Return the unified diff of one file, "" where its bytes stay the same. None as a side: there is no file. Returns
    None for a binary file and above 256 KiB or 5,000 lines. May take a second: call it in a thread."""
    old, new = before or b"", after or b""
    if max(len(old), len(new)) > _FILE_BYTES:
        return None
    was, now = _lines(old), _lines(new)
    if was is None or now is None or max(len(was), len(now)) > _FILE_LINES:
        return None
    return _unified(name, None if before is None else was, None if after is None else now)


def _unified(name: str, was: list[str] | None, now: list[str] | None) -> str:
    names = ("/dev/null" if was is None else f"a/{name}", "/dev/null" if now is None else f"b/{name}")
    lines = difflib.unified_diff(was or [], now or [], *names)
    return "".join(line if line.endswith("\n") else line + _NO_NEWLINE for line in lines)


def _state(entry: Entry | None) -> FileState | None:
    return None if entry is None else FileState(kind=entry.kind, size=entry.size, mode=entry.mode)


def _bytes(view: View, path: bytes, entry: Entry | None) -> bytes:
    if entry is None or entry.kind == "folder":
        return b""
    return entry.target if entry.kind == "link" else view.read(path)


def _lines(data: bytes) -> list[str] | None:
    """Split text into lines; None for binary data."""
    if b"\0" in data[:_LOOK]:
        return None
    try:
        return io.StringIO(data.decode("utf-8"), newline="\n").readlines()
    except UnicodeDecodeError:
        return None
