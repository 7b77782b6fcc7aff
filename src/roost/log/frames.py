"""What a session's stream consists of."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import msgspec

DeltaKind: TypeAlias = Literal["text", "thinking", "call"]
Stage: TypeAlias = Literal["fetching", "loading", "reading"]


class Frame(NamedTuple):
    """`seq`: the event's position in the log; None for a delta. `body`: JSON that begins with its type."""

    seq: int | None
    body: bytes


class Delta(msgspec.Struct, frozen=True, tag_field="type", tag="delta"):
    """A piece of step `step`, whose answer began, or began again, with event `after`. `offset`: characters of this kind
    before it. A reader that joins late or lagged gets everything from offset 0, and drops what it has."""

    step: int
    after: int
    kind: DeltaKind
    offset: int
    text: str


class Progress(msgspec.Struct, frozen=True, tag_field="type", tag="progress"):
    """Progress of step `step` before its first text: as `roost.models.request.Progress`. Each replaces the one before.
    Sent only to readers on the session's own node."""

    step: int
    after: int
    stage: Stage
    done: int
    total: int
