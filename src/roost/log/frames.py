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


class TextPieces:
    """Turns the deltas of a reader into text that is told once: after a gap they begin again at offset 0."""

    def __init__(self) -> None:
        self._step, self._said = (0, 0), 0

    def new(self, delta: Delta) -> str:
        """Return what was not told yet of this step's answer."""
        if (delta.step, delta.after) != self._step:
            self._step, self._said = (delta.step, delta.after), 0
        text = delta.text[max(0, self._said - delta.offset) :]
        self._said = max(self._said, delta.offset + len(delta.text))
        return text

    def rest(self, step: int, text: str) -> str:
        """Return what was not told of a step that has ended with this text: a reader may miss its last deltas."""
        said = self._said if self._step[0] == step else 0
        self._step, self._said = (step, -1), len(text)
        return text[said:]


class Progress(msgspec.Struct, frozen=True, tag_field="type", tag="progress"):
    """Progress of step `step` before its first text: as `roost.models.request.Progress`. Each replaces the one before.
    Sent only to readers on the session's own node."""

    step: int
    after: int
    stage: Stage
    done: int
    total: int
