"""Types for differences between two trees of files, and for the changes that a call would make."""

from __future__ import annotations

from typing import Literal

import msgspec


class FileState(msgspec.Struct, frozen=True, kw_only=True):
    """`size`: bytes of a file. `mode`: the nine permission bits, 0 for a link."""

    kind: Literal["file", "folder", "link"]
    size: int
    mode: int


class FileChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One changed path. `before` is missing for an added one, `after` for a removed one. `diff` is unified, of a text
    file or of a link's target. `why_no_diff`: why a file with changed bytes has none: `binary`, `too_large`, `limit`
    (of all diffs together), `unreadable`."""

    path: str
    change: Literal["added", "removed", "changed"]
    before: FileState | None = None
    after: FileState | None = None
    diff: str | None = None
    why_no_diff: Literal["binary", "too_large", "limit", "unreadable"] | None = None


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """`changes`: the first 1,000, sorted by path. The counts are of all."""

    changes: list[FileChange]
    added: int
    removed: int
    changed: int
