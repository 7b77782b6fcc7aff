"""What a run with several nodes found."""

from __future__ import annotations

from collections import Counter

from tests.harness.crash.report import Report, Spread


class ClusterReport(Report, kw_only=True):
    """`faults` counts each kind. `takeovers`: from a fault to the next commit of each session of the node that it hit,
    by another node, for those in the middle of a turn. `back`: from the end of a fault until every node is healthy.
    `operations` are those that the history checker saw; `refusals` the answers 5xx that clients met."""

    seed: int = 0
    nodes: int = 0
    faults: dict[str, int] = {}
    takeovers: dict[str, Spread] = {}
    back: dict[str, Spread] = {}
    operations: int = 0
    refusals: int = 0
    deleted: int = 0
    ended_by_itself: list[str] = []

    def lines(self) -> list[str]:
        found = [
            f"{self.name}: {self.nodes} nodes, {sum(self.faults.values())} faults in {self.seconds:.0f} s,"
            f" seed {self.seed}",
            f"  {self.sessions} sessions ({self.deleted} deleted afterwards), {self.inputs} inputs,"
            f" {self.events} events, {self.effects} effects,"
            f" {self.model_calls} model calls ({self.violations} refused as invalid),"
            f" {self.stream_breaks} streams broken off, {self.refusals} answers 5xx,"
            f" {self.operations} operations checked",
        ]
        for name, count in sorted(self.faults.items()):
            found.append(f"  {name}: {count} times; back: {self.back.get(name, Spread())}")
            if name in self.takeovers:
                found.append(f"    takeover: {self.takeovers[name]}")
        found += [f"  ended by itself: {end}" for end in self.ended_by_itself]
        return found + [f"  BROKEN: {problem}" for problem in self.problems]


class Times:
    """Seconds by the kind of fault, while they are gathered."""

    def __init__(self) -> None:
        self.faults: Counter[str] = Counter()
        self.takeovers: dict[str, list[float]] = {}
        self.back: dict[str, list[float]] = {}
        self.last: dict[str, float] = {}

    def moved(self, name: str, seconds: dict[str, float]) -> None:
        """Of each session."""
        self.takeovers.setdefault(name, []).extend(seconds.values())
        self.last = seconds

    def into(self, report: ClusterReport) -> None:
        report.faults = dict(self.faults)
        report.takeovers = {name: Spread.of(seconds) for name, seconds in self.takeovers.items() if seconds}
        report.back = {name: Spread.of(seconds) for name, seconds in self.back.items()}
