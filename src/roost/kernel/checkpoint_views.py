"""What is said of checkpoints and rollbacks."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from roost.workspace.changes import FileChange

LABEL = 200
"""Characters of a checkpoint's label, at most."""

Target: TypeAlias = int | str
"""A position of the log, or the label of a checkpoint."""


class CheckpointInfo(msgspec.Struct, frozen=True, kw_only=True):
    """`seq`: its position. `files`: whether the private files are kept with it."""

    seq: int
    label: str | None
    cause: str
    made_at: float
    files: bool


class FilesDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What changed in a session's private files from the position `since` to `until`, None for now. `changes` are
    sorted by path, the first 1,000; `added`, `removed` and `changed` count all. `why_not_since`, `why_not_until`: why
    older files than those of that position are shown."""

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
    """What became of an order. `seq` is the position of the event that says that it is done, None: it is accepted, as
    `input`, and still to take effect. `to`: where the session went back to. `files`: whether its files are kept, or
    went back, and `why_no_files`. `files_left`: of a dropped checkpoint, why its files still take up room."""

    session: str
    input: int
    seq: int | None = None
    to: int | None = None
    label: str | None = None
    files: bool = False
    why_no_files: str | None = None
    files_left: str | None = None
