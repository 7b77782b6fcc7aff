"""Events of this feature."""

from __future__ import annotations

from typing import Literal

from roost.log.events import Event, StallKind


class LoopStalled(Event, frozen=True, tag="loop.stalled"):
    """The turn makes no progress after model call `step`: the pattern `kind` occurred `count` times. action: show the
    `hint` to the model beside the newest result, do the same with more `effort` or another `model`, or `end` the
    turn."""

    turn: int
    step: int
    kind: StallKind
    count: int
    action: Literal["hint", "effort", "model", "end"]
    hint: str = ""

    @property
    def line(self) -> str:
        return f"the turn gets nowhere ({self.kind}, {self.count}): {self.action}"


EVENTS = (LoopStalled,)
