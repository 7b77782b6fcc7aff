"""Counters of the stub provider."""

from __future__ import annotations

import math

import msgspec

from roost.log.content import Usage


class Served(msgspec.Struct):
    """Usage of one model as a bill would show it, in tokens.

    `calls`: answers that were started. `cut`: those of them that were not written to their end. An answer's input
    counts at its start, its output in the share of its body that was written, rounded up. Refusals, and faults that
    replace an answer, are free.
    """

    calls: int = 0
    cut: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    written: int = 0


class Stats(msgspec.Struct):
    """`left`: clients that hung up before their answer was complete. `open`: requests in progress. `connections`:
    number of different ones with requests. `sent`: bytes of bodies handed to the system. `served`: by model."""

    requests: int = 0
    connections: int = 0
    violations: int = 0
    answered: int = 0
    faults: int = 0
    left: int = 0
    open: int = 0
    sent: int = 0
    reasons: list[str] = []
    served: dict[str, Served] = {}


class Meter:
    """Counts one answer while it is written: call `add` before each write, so that the count is never behind."""

    def __init__(self, stats: Stats, model: str, usage: Usage, size: int) -> None:
        self._stats, self._usage, self._size = stats, usage, size
        self._served = stats.served.setdefault(model, Served())
        self._passed = self._counted = 0
        self._begun = self._whole = False

    def add(self, size: int) -> None:
        served, usage = self._served, self._usage
        if not self._begun:
            self._begun = True
            served.calls += 1
            served.cut += 1
            served.input += usage.input
            served.cached += usage.cached
            served.written += usage.written
        self._stats.sent += size
        self._passed += size
        share = min(1.0, self._passed / self._size) if self._size else 1.0
        counted = math.ceil(usage.output * share)
        served.output += counted - self._counted
        if self._passed >= self._size and not self._whole:
            self._whole = True
            served.cut -= 1
        self._counted = counted
