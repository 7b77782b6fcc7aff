"""What a run of the harness found."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

from roost.features.compaction.events import CompactionStarted
from roost.features.memory.events import ConsolidationStarted
from roost.log import events as ev
from roost.stub.provider import Stats

_INTENTS = (ev.ModelStarted, CompactionStarted, ConsolidationStarted)
"""Each announces one model call."""


class Spread(msgspec.Struct, frozen=True):
    """Seconds. All zero when nothing was measured."""

    count: int = 0
    median: float = 0.0
    p95: float = 0.0
    longest: float = 0.0

    @staticmethod
    def of(seconds: Sequence[float]) -> Spread:
        if not seconds:
            return Spread()
        ordered = sorted(seconds)
        at = min(len(ordered) - 1, int(len(ordered) * 0.95))
        return Spread(len(ordered), *(round(x, 3) for x in (statistics.median(ordered), ordered[at], ordered[-1])))

    def __str__(self) -> str:
        return f"median {self.median:.2f} s, 95 % {self.p95:.2f} s, longest {self.longest:.2f} s ({self.count} times)"


class Report(msgspec.Struct):
    """`recovered` counts the kills after which the daemon came back healthy and no promise was broken then or later.
    `healthy`: from starting the process to a healthy answer. `resumed`: to the end of the turn that the kill cut (every
    commit), or to the first new event of a session that it cut (at random). `model_intents` counts the model calls that
    the logs announce, `model_calls` the requests that the provider got: never more. `orphans_seen` counts the kills
    that left commands running."""

    name: str
    kills: int = 0
    recovered: int = 0
    seconds: float = 0.0
    sessions: int = 0
    inputs: int = 0
    events: int = 0
    effects: int = 0
    model_intents: int = 0
    model_calls: int = 0
    violations: int = 0
    stream_breaks: int = 0
    orphans_seen: int = 0
    commits: list[str] = []
    healthy: Spread = Spread()
    resumed: Spread = Spread()
    problems: list[str] = []

    def count(self, log: Sequence[ev.Event], inputs: int, stream_breaks: int) -> None:
        """Add a session that is done."""
        self.sessions += 1
        self.inputs += inputs
        self.events += len(log)
        self.model_intents += sum(isinstance(event, _INTENTS) for event in log)
        self.stream_breaks += stream_breaks

    def end(self, provider: Stats, effects: int, starts: Sequence[float], resumed: Sequence[float]) -> None:
        """Add what is known when everything has ended."""
        self.model_calls, self.violations, self.effects = provider.requests, provider.violations, effects
        self.problems += [f"the provider refused a request: {reason}" for reason in provider.reasons]
        if self.model_calls > self.model_intents:
            self.problems.append(f"{self.model_calls} model calls were made, {self.model_intents} were announced")
        self.healthy, self.resumed = Spread.of(starts), Spread.of(resumed)

    def lines(self) -> list[str]:
        found = [
            f"{self.name}: {self.kills} kills, {self.recovered} recovered, in {self.seconds:.0f} s",
            f"  {self.sessions} sessions, {self.inputs} inputs, {self.events} events, {self.effects} effects,"
            f" {self.model_calls} model calls ({self.violations} refused as invalid),"
            f" {self.stream_breaks} streams broken off, {self.orphans_seen} kills left commands running",
            f"  restart to healthy: {self.healthy}",
            f"  restart to work going on: {self.resumed}",
        ]
        return found + [f"  BROKEN: {problem}" for problem in self.problems]
