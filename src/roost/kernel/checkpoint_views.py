"""Views of checkpoints and rollbacks for callers."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from roost.workspace.changes import FileChange

LABEL = 200
"""Most characters of a checkpoint's label."""

Target: TypeAlias = int | str
"""A position of the log, or the label of a checkpoint."""


class CheckpointInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint. `seq`: its position in the log. `files`: whether the private files are kept with it."""

    seq: int
    label: str | None
    cause: str
    made_at: float
    files: bool


class FilesDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What changed in a session's private files from the position `since` to `until` (None: now). `changes`: the first
    1,000, sorted by path; `added`, `removed` and `changed` count all. `why_not_since`, `why_not_until`: why the files
    shown are older than that position."""

    session: str
    since: int
    until: int | None
    why_not_since: str | None = None
    why_not_until: str | None = None
    changes: list[FileChange]
    added: int
    removed: int
    changed: int


class Travelled(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an order. `seq`: position of the event that says it is done; None: accepted as `input`, still
    pending. `to`: the position that the session went back to. `files`: whether its files were kept or restored; if not,
    `why_no_files`. `files_left`: why a dropped checkpoint's files still take space."""

    session: str
    input: int
    seq: int | None = None
    to: int | None = None
    label: str | None = None
    files: bool = False
    why_no_files: str | None = None
    files_left: str | None = None
