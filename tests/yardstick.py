"""CPU time in that of one fixed machine, so that a bound holds on any: what is measured is compared with a loop beside
it."""

from __future__ import annotations

import time
from collections.abc import Callable

_ROUNDS = 20_000
_REFERENCE = 2e-3
"""CPU seconds that the loop takes on the machine where the bounds of the tests were measured."""


def slowness() -> float:
    """Return how many times longer this machine takes now than the machine of reference. Another program on the same
    core, a slow clock and an emulated processor count."""
    began = time.process_time()
    seen: dict[int, str] = {}
    for number in range(_ROUNDS):
        seen[number & 255] = str(number)
    return (time.process_time() - began) / _REFERENCE


def reference_seconds(work: Callable[[], object], *, tries: int = 5) -> float:
    """Return the CPU seconds that `work` takes on the machine of reference: the least of some tries, each beside the
    loop."""
    best, before = float("inf"), slowness()
    for _ in range(tries):
        began = time.process_time()
        work()
        took = time.process_time() - began
        after = slowness()
        best, before = min(best, took / max(before, after)), after
    return best
