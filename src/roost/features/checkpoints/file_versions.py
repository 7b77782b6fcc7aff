"""The versions of one file over the checkpoints of a session."""

from __future__ import annotations

from typing import Literal

import msgspec

from roost.workspace.changes import FileState


class FileVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it was from the checkpoint `seq` on; None: as it is now, changed since the newest checkpoint. It
    became so after the checkpoint `since`; None: after the session began. `file`: None where it was removed. `turns`,
    `steps`: the session's counters at `since` and at `seq`: one of the steps in between made the change."""

    seq: int | None
    since: int | None
    change: Literal["added", "removed", "changed"]
    file: FileState | None
    label: str | None = None
    cause: str | None = None
    made_at: float | None = None
    turns: tuple[int, int]
    steps: tuple[int, int]


class FileHistory(msgspec.Struct, frozen=True, kw_only=True):
    """The versions of one file, the newest first. `unread`: checkpoints whose files could not be read. `next`: the
    `before` of the next page."""

    session: str
    path: str
    versions: list[FileVersion]
    unread: list[int]
    next: int | None = None
