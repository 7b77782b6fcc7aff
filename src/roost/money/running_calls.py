"""What a call under way may have cost so far, for the case that its process dies."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from roost.log.shared import OpenCall

TOKENS_PER_SECOND = 400.0
"""The fastest that a model is taken to write. Hosted models write 30 to 250 tokens a second."""
BEAT = 1.0
"""Seconds between two notes of what the calls of a process have cost so far."""
_SILENCE = 1.0
"""Seconds without a word of an answer from which the model is taken to write what is not heard, such as reasoning."""
_SLACK = 1.0
"""Seconds that a provider may go on after its client is gone."""


class Plan(NamedTuple):
    """What a call may cost, in nano-dollars: at most `most`, before its answer `base`, then `token` for each of at most
    `speed` output tokens a second. `heard`: how many of these were heard so far."""

    most: int
    base: int
    token: float = 0.0
    speed: float = TOKENS_PER_SECOND
    heard: Callable[[], int] = lambda: 0

    @property
    def rate(self) -> int:
        return math.ceil(self.token * self.speed)


class Underway:
    """A call that runs. Call `touch` whenever something of its answer is heard. `now`: a monotonic clock.
    `provider_id`: the id that the provider gave the answer, once it is known."""

    def __init__(self, plan: Plan, now: Callable[[], float] = time.monotonic) -> None:
        self._plan = plan
        self._now = now
        self._last = now()
        self._silent = 0.0
        self.provider_id: str | None = None

    def touch(self) -> None:
        self._silent, self._last = self._silence(), self._now()

    def cost(self) -> int:
        """What it may have cost until now: its input, the output that was heard, and what the model may have written
        while nothing was."""
        plan = self._plan
        tokens = plan.heard() + self._silence() * plan.speed
        return min(plan.most, plan.base + math.ceil(tokens * plan.token))

    def _silence(self) -> float:
        gap = self._now() - self._last
        return self._silent + (gap if gap > _SILENCE else 0.0)


def bound(call: OpenCall) -> int:
    """The most that a call whose process is gone may have cost, in nano-dollars: its cost by its last progress, and
    what its model may have written until its process must have ended it. Of a process that is there and stands still
    the call may go on: all that is reserved."""
    most = max(call.amounts.values(), default=0)
    if call.note is None or not call.gone:
        return most
    seconds = min(call.idle, call.note.window) + _SLACK
    return min(most, call.cost + math.ceil(call.note.rate * seconds))
