"""Bound the cost of a call in flight, in case its process dies."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from roost.log.ledger import OpenCall

TOKENS_PER_SECOND = 400.0
"""Assumed highest speed of a model. Hosted models write 30 to 250 tokens a second."""
BEAT = 1.0
"""Seconds between two notes of the costs of a process's calls."""
_SILENCE = 1.0
"""Seconds without output after which the model is assumed to write hidden tokens, such as reasoning."""
_SLACK = 1.0
"""Seconds that a provider may continue after its client is gone."""


class Plan(NamedTuple):
    """The cost of a call, in nano-dollars: at most `most`; `base` before its answer, then `token` for each of at most
    `speed` output tokens a second. `heard`: returns the output tokens received so far."""

    most: int
    base: int
    token: float = 0.0
    speed: float = TOKENS_PER_SECOND
    heard: Callable[[], int] = lambda: 0

    @property
    def rate(self) -> int:
        return math.ceil(self.token * self.speed)


class Underway:
    """A call in flight. Call `touch` whenever a part of its answer arrives. `provider_id`: the provider's id of the
    answer, once known."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._last = time.monotonic()
        self._silent = 0.0
        self.provider_id: str | None = None

    def touch(self) -> None:
        self._silent, self._last = self._silence(), time.monotonic()

    def cost(self) -> int:
        """Return the highest cost until now: its input, the received output, and what the model may have written in
        silence."""
        plan = self._plan
        tokens = plan.heard() + self._silence() * plan.speed
        return min(plan.most, plan.base + math.ceil(tokens * plan.token))

    def _silence(self) -> float:
        gap = time.monotonic() - self._last
        return self._silent + (gap if gap > _SILENCE else 0.0)


def bound(call: OpenCall) -> int:
    """Return the highest cost of a call whose process is gone, in nano-dollars: its cost at its last progress, and what
    its model may have written until the process must have ended it. If the process still exists but stands still, the
    call may continue: the whole reservation."""
    most = max(call.amounts.values(), default=0)
    if call.note is None or not call.gone:
        return most
    seconds = min(call.idle, call.note.window) + _SLACK
    return min(most, call.cost + math.ceil(call.note.rate * seconds))
