"""The shapes of what differs between two trees of files, and of what a call would change."""

from __future__ import annotations

from typing import Literal

import msgspec


class FileState(msgspec.Struct, frozen=True, kw_only=True):
    """`size` in bytes, of a file; `mode`: the nine permission bits, 0 for a link."""

    kind: Literal["file", "folder", "link"]
    size: int
    mode: int


class FileChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`before` is left out for what was added, `after` for what was removed. `diff` is unified, of a text file or of a
    link's target; `why_no_diff` says why a file whose bytes changed has none: `binary`, `too_large`, `limit` (of all
    diffs together), `unreadable`."""

    path: str
    change: Literal["added", "removed", "changed"]
    before: FileState | None = None
    after: FileState | None = None
    diff: str | None = None
    why_no_diff: Literal["binary", "too_large", "limit", "unreadable"] | None = None


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """`changes` are sorted by path, the first 1,000; the counts are of all."""

    changes: list[FileChange]
    added: int
    removed: int
    changed: int


class FileDiff(msgspec.Struct, frozen=True):
    """One file of a call. `path` is as the model names it; `diff` is unified, against the file as it is now, and empty
    where the file stays as it is."""

    path: str
    diff: str
