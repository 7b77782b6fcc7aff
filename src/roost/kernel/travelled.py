"""What is said of checkpoints and rollbacks."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

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


class Travelled(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an order. `seq` is the position of the event that says that it is done, None: it is accepted, as
    `input`, and still to take effect. `to`: where the session went back to. `files`: whether its files are kept, or
    went back, and `why_no_files`."""

    session: str
    input: int
    seq: int | None = None
    to: int | None = None
    label: str | None = None
    files: bool = False
    why_no_files: str | None = None
