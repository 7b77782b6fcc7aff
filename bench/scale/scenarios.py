"""Faults in a cluster of any size, and how long the sessions that they hit stand still."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from bench.scale.clock import Clock
from bench.scale.costs import costs
from bench.scale.database import Database, Rows
from bench.scale.limits import DIRECTED, use
from bench.scale.node import Node

_WARM = 1.0
"""Seconds before the fault: nodes are in the middle of their beats and rounds."""


@dataclass
class Outcome:
    """`times`: from the fault, for each session that it hit, until it went on (seconds). `fenced`: sessions taken from
    nodes that lived. `spread`: the most that one node took over, of the average."""

    nodes: int
    hit: int
    times: list[float] = field(default_factory=list)
    fenced: int = 0
    together: float = 0.0
    """Seconds for which two nodes ran one session, at most: they may both spend, but only one can write."""
    stale: int = 0
    cpu: float = 0.0
    """Of the database, in seconds, from the fault on."""
    taken: dict[int, int] = field(default_factory=dict)

    def at(self, percent: float) -> float:
        ordered = sorted(self.times)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0

    @property
    def uneven(self) -> float:
        return max(self.taken.values()) * len(self.taken) / sum(self.taken.values()) if self.taken else 0.0


class World:
    def __init__(self, nodes: int, sessions: int, live_each: int, seed: int, *, lone: bool = False) -> None:
        self.clock = Clock(seed)
        self.rows = Rows(sessions)
        busy = 0.0 if lone else min(0.8, use(nodes, DIRECTED).first[1] * costs()["hardware"]["usable_share"])
        self.database = Database(self.clock, self.rows, busy)
        self.nodes = [
            Node(number, self.clock, self.database, self._woken, self._dropped, self._tell) for number in range(nodes)
        ]
        self.hit: set[int] = set()
        self.fault_at = 0.0
        self.outcome = Outcome(nodes, 0)
        self._woken_at: dict[int, float] = {}
        self._at: dict[int, int] = {}
        self.rows.home = array("i", range(nodes)) * (sessions // nodes + 1)
        self.rows.home = self.rows.home[:sessions]
        for node in self.nodes:
            node.start()
            for session in range(node.number, min(sessions, nodes * live_each), nodes):
                self.rows.owner[session] = node.number
                self.rows.epoch[session] = 1
                self.rows.owned[node.number].add(session)
                self.rows.working.add(session)
                node.live[session] = 1
        self.clock.run(_WARM)

    def fault(self, hit: set[int]) -> None:
        self.fault_at = self.clock.now
        self.hit = set(hit)
        self.outcome.hit = len(hit)
        self.database.cpu = 0.0

    def settle(self, seconds: float, *, whole: bool = False) -> Outcome:
        """Until all that was hit goes on, and no longer than so many seconds; `whole`: for all of them."""
        self.clock.run(self.clock.now + seconds, lambda: not self.hit and not whole)
        self.outcome.fenced = sum(node.fenced for node in self.nodes)
        self.outcome.stale = self.rows.stale
        self.outcome.cpu = self.database.cpu / 1e6
        return self.outcome

    def check(self) -> None:
        """Raises when a session is lost, or two nodes that run believe in one."""
        believers: dict[int, list[int]] = {}
        for node in self.nodes:
            for session, epoch in node.live.items():
                if node.process and epoch == self.rows.epoch[session] and self.rows.owner[session] == node.number:
                    believers.setdefault(session, []).append(node.number)
        for session in self.rows.working:
            owner = self.rows.owner[session]
            assert owner != -1 or session in self.rows.ready, f"session {session} has work and nobody will take it"
            assert owner == -1 or session in self.rows.owned[owner], f"session {session} is not in its owner's set"
            assert len(believers.get(session, [])) <= 1, f"session {session} runs twice"
        owned = sum(len(sessions) for sessions in self.rows.owned.values())
        free = self.rows.owner.count(-1)
        assert owned + free == len(self.rows.owner), "a session has been lost or doubled"

    def _woken(self, session: int, node: Node) -> None:
        if not node.runs or node.live.get(session) != self.rows.epoch[session]:
            return
        self._woken_at[session] = self.clock.now
        former, self._at[session] = self._at.get(session, session % len(self.nodes)), node.number
        if former != node.number:
            step = self.clock.random.uniform(0, costs()["workload"]["step_seconds"])
            self.clock.after(step, lambda: self.nodes[former].append(session))
        if session in self.hit:
            self.hit.discard(session)
            self.outcome.times.append(self.clock.now - self.fault_at)
            self.outcome.taken[node.number] = self.outcome.taken.get(node.number, 0) + 1

    def _dropped(self, session: int) -> None:
        if (since := self._woken_at.get(session)) is not None:
            self.outcome.together = max(self.outcome.together, self.clock.now - since)

    def _tell(self, sender: Node) -> None:
        """One notification to everybody: each one's server process has to be woken for it."""
        each = costs()["notify"]["listener_us"] / 1e6 / costs()["hardware"]["cores"]
        for place, node in enumerate(self.nodes):
            if node is not sender and node.process:
                self.clock.after(0.0005 + place * each + self.clock.random.uniform(0, 0.0005), node.told)


def kill(nodes: int, *, sessions: int, live_each: int, seed: int, share: float = 0.0, lone: bool = False) -> Outcome:
    """kill -9 of one node, or of a share of them at once."""
    world = World(nodes, sessions, live_each, seed, lone=lone)
    victims = world.clock.random.sample(world.nodes, max(1, round(nodes * share)))
    world.fault({session for node in victims for session in node.live})
    least, most = costs()["detection"]["closed_ms"]
    for node in victims:
        node.process = False
        node.live.clear()
        seen = world.clock.random.uniform(least, most) / 1e3
        world.clock.after(seen, lambda number=node.number: world.database.locks.discard(number))
    return _checked(world, 60)


def partition(nodes: int, *, sessions: int, live_each: int, seed: int) -> Outcome:
    """One node is cut off from the database, and neither side is told."""
    world = World(nodes, sessions, live_each, seed)
    victim = world.clock.random.choice(world.nodes)
    world.fault(set(victim.live))
    victim.reachable = False
    silent = costs()["detection"]["unreachable_seconds"]
    world.clock.after(silent, lambda: world.database.locks.discard(victim.number))
    return _checked(world, 60)


def zombie(nodes: int, *, sessions: int, live_each: int, seed: int) -> Outcome:
    """SIGSTOP to a node, and SIGCONT when others have long had its sessions."""
    world = World(nodes, sessions, live_each, seed)
    victim = world.clock.random.choice(world.nodes)
    world.fault(set(victim.live))
    victim.stopped = True
    world.settle(60)
    victim.proceed()
    return _checked(world, 5, whole=True)


def restart(nodes: int, *, sessions: int, live_each: int, seed: int, outage: float) -> Outcome:
    """The database is gone for so long and comes back. `fenced` are the sessions that living nodes lose by that."""
    world = World(nodes, sessions, live_each, seed)
    world.fault(set())
    world.database.crash(outage)
    for node in world.nodes:
        world.clock.after(0.001, node.cut)
    return _checked(world, outage + 15, whole=True)


def cuts(nodes: int, *, sessions: int, live_each: int, seed: int, share: float = 1.0) -> Outcome:
    """The connections of so many nodes break at once, and the server lives. `fenced` as above."""
    world = World(nodes, sessions, live_each, seed)
    world.fault(set())
    for node in world.clock.random.sample(world.nodes, max(1, round(nodes * share))):
        world.database.locks.discard(node.number)
        world.clock.after(world.clock.random.uniform(0, 0.001), node.cut)
    return _checked(world, 15, whole=True)


def storm(nodes: int, *, sessions: int, live_each: int, seed: int, waking: int) -> Outcome:
    """So many sleeping sessions get an input at once, and everybody is told."""
    world = World(nodes, sessions, live_each, seed)
    first = nodes * live_each
    woken = range(first, min(sessions, first + waking))
    world.fault(set(woken))
    for session in woken:
        world.rows.working.add(session)
        world.rows.ready[session] = world.clock.now
    for node in world.nodes:
        world.clock.after(costs()["protocol"]["leave_seconds"], node.told)
        world.clock.after(costs()["protocol"]["leave_seconds"] + 0.12, node.told)
    return _checked(world, 120)


def _checked(world: World, seconds: float, *, whole: bool = False) -> Outcome:
    outcome = world.settle(seconds, whole=whole)
    world.check()
    return outcome
