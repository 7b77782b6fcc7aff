"""The database: a server of some cores, and the rows of sessions and nodes in it."""

from __future__ import annotations

from array import array
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable
from typing import Any

from bench.scale.clock import Clock
from bench.scale.costs import costs, of_nodes
from roost.log.dispatch import HEAD_START

Commit = Callable[[], Any]
"""Makes what a statement did visible, and returns its answer."""


class Rows:
    """Sessions by number, with their owner (a node's number or -1) and epoch; those with work and without owner in the
    order in which they became so. The home of a session is a node's number too: where it ran last."""

    def __init__(self, sessions: int) -> None:
        self.owner = array("i", [-1]) * sessions
        self.epoch = array("i", [0]) * sessions
        self.home = array("i", [-1]) * sessions
        self.working: set[int] = set()
        """That have work, whoever owns them."""
        self.ready: dict[int, float] = {}
        self.locked: set[int] = set()
        self.locked_nodes: set[int] = set()
        self.nodes: dict[int, float] = {}
        """Until when each lives by its lease."""
        self.boot: dict[int, int] = {}
        """Under which start of the server each held its lock last."""
        self.ring: list[int] = []
        self.owned: dict[int, set[int]] = {}
        self.first_late = 0.0
        """No lease ends before this."""
        self.stale = 0
        """Appends of former owners that were taken: there must be none."""

    def beat(self, node: int, until: float) -> None:
        if node not in self.nodes:
            insort(self.ring, node)
            self.owned[node] = set()
        self.nodes[node] = until

    def neighbours(self, node: int, around: int) -> list[int]:
        place = bisect_right(self.ring, node)
        return [other for other in (self.ring[place:] + self.ring[:place])[:around] if other != node]

    def let_go(self, node: int, now: float) -> int:
        """The node is buried. Returns how many sessions are free by that."""
        freed = self.owned.pop(node)
        self.nodes.pop(node)
        self.boot.pop(node, None)
        self.ring.remove(node)
        for session in sorted(freed):
            self.owner[session] = -1
            if session in self.working:
                self.ready[session] = now
        return len(freed)

    def late(self, now: float) -> list[int]:
        """Nodes whose lease is over."""
        if now <= self.first_late:
            return []
        self.first_late = min(self.nodes.values(), default=now)
        return [node for node, until in self.nodes.items() if until < now]

    def suitable(self, node: int, most: int, now: float) -> tuple[list[int], int, int]:
        """What a claim takes, how many rows it passes over because others have locked them, and how many because they
        are left to their home."""
        got: list[int] = []
        skipped = foreign = 0
        for session, since in self.ready.items():
            home = self.home[session]
            if session in self.locked:
                skipped += 1
            elif home in (-1, node) or home not in self.nodes or since < now - HEAD_START:
                got.append(session)
                if len(got) == most:
                    break
            else:
                foreign += 1
        return got, skipped, foreign

    def claim(self, node: int, sessions: list[int]) -> list[tuple[int, int]]:
        if node not in self.nodes:
            return []
        for session in sessions:
            self.owner[session], self.home[session] = node, node
            self.epoch[session] += 1
            del self.ready[session]
            self.owned[node].add(session)
        return [(session, self.epoch[session]) for session in sessions]

    def append(self, session: int, epoch: int) -> bool:
        """Whether the store takes it."""
        return self.owner[session] != -1 and self.epoch[session] == epoch


class Database:
    """`busy`: the share of its cores that all the rest of the work takes."""

    def __init__(self, clock: Clock, rows: Rows, busy: float) -> None:
        self.clock = clock
        self.rows = rows
        self.up = True
        self.starts = 0
        self.locks: set[int] = set()
        """Of nodes: held while the connection that stands for a node lives, as far as the server knows."""
        self.commits = 0
        self.cpu = 0.0
        hardware = costs()["hardware"]
        self._stretch = 1 / (1 - busy)
        self._idle = int(hardware["cores"])
        self._waiting: deque[Callable[[], None]] = deque()
        self._fsync = hardware["fsync_ms"] / 1e3
        self._half = hardware["round_trip_ms"] / 2e3

    def call(
        self, cpu_us: float, do: Callable[[], tuple[Commit, float]], answer: Callable[[Any], None], *, sync: bool = True
    ) -> None:
        """Send a statement. When a core is free it runs: `do` says what it will have done at its commit, and how many
        µs more it takes. The answer comes after the commit; None when the server went away meanwhile."""
        incarnation = self.starts

        def arrive() -> None:
            if not self.up or self.starts != incarnation:
                self.clock.after(self._half, lambda: answer(None))
            elif self._idle:
                self._idle -= 1
                work()
            else:
                self._waiting.append(work)

        def work() -> None:
            commit, more = do()
            self.cpu += cpu_us + more
            self.clock.after((cpu_us + more) / 1e6 * self._stretch, lambda: worked(commit))

        def worked(commit: Commit) -> None:
            if not self.up or self.starts != incarnation:
                answer(None)
                return
            self.clock.after(self._fsync * self.clock.random.uniform(1, 2) if sync else 0.0, lambda: end(commit))
            if self._waiting:
                self._waiting.popleft()()
            else:
                self._idle += 1

        def end(commit: Commit) -> None:
            if not self.up or self.starts != incarnation:
                answer(None)
                return
            self.commits += 1
            result = commit()
            self.clock.after(self._half, lambda: answer(result))

        self.clock.after(self._half * self.clock.random.uniform(0.8, 1.5), arrive)

    def dead(self, node: int) -> bool:
        """Its lease is over, or its lock is free under the server that it held it on last."""
        known = self.rows.boot.get(node) == self.starts
        return self.rows.nodes.get(node, 0.0) < self.clock.now or (known and node not in self.locks)

    def lock(self, node: int) -> None:
        self.locks.add(node)
        if node in self.rows.nodes:
            self.rows.boot[node] = self.starts

    def probe(self, node: int, around: int) -> tuple[Commit, float]:
        """Answers with the neighbours that seem dead and with everybody whose lease is over."""

        def commit() -> tuple[list[int], list[int]]:
            rows = self.rows
            cut = [other for other in rows.neighbours(node, around) if self.dead(other)]
            return cut, [other for other in rows.late(self.clock.now) if other != node]

        return commit, 0.0

    def bury(self, suspects: list[int]) -> tuple[Commit, float]:
        """Those of them that are still dead, and that nobody else is burying. Answers with them."""
        rows, there = self.rows, costs()
        mine = [
            other
            for other in dict.fromkeys(suspects)
            if other in rows.nodes and other not in rows.locked_nodes and self.dead(other)
        ]
        rows.locked_nodes.update(mine)
        count = sum(len(rows.owned[other]) for other in mine)

        def commit() -> list[int]:
            rows.locked_nodes.difference_update(mine)
            still = [other for other in mine if other in rows.nodes and self.dead(other)]
            for other in still:
                rows.let_go(other, self.clock.now)
            return still

        return commit, count * there["bury"]["cpu_us"]

    def claim(self, node: int, most: int) -> tuple[Commit, float]:
        there = costs()["claim"]
        if node not in self.rows.nodes:
            return list, 0.0
        got, skipped, foreign = self.rows.suitable(node, most, self.clock.now)
        self.rows.locked.update(got)

        def commit() -> list[tuple[int, int]]:
            self.rows.locked.difference_update(got)
            return self.rows.claim(node, got)

        passed = foreign * of_nodes("foreign_us", len(self.rows.nodes))
        return commit, len(got) * there["cpu_us"] + skipped * there["skip_us"] + passed

    def crash(self, seconds: float) -> None:
        """Connections, locks and what was not committed are gone; rows stay."""
        self.up = False
        self.locks.clear()
        self._waiting.clear()
        self.rows.locked.clear()
        self.rows.locked_nodes.clear()

        def again() -> None:
            self.up = True
            self.starts += 1
            self._idle = int(costs()["hardware"]["cores"])

        self.clock.after(seconds, again)

    def claim_us(self) -> float:
        return of_nodes("idle_claim_us", len(self.rows.nodes))

    def tick_us(self) -> float:
        return of_nodes("tick_us", len(self.rows.nodes))

    def beat_us(self) -> float:
        return of_nodes("beat_us", len(self.rows.nodes)) + of_nodes("list_us", len(self.rows.nodes))
