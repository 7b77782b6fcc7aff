"""What one database bears while nothing breaks: the use of each resource, by the utilization law (rate × cost)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.scale.costs import costs, of_nodes, step_us
from roost.kernel.config import KernelConfig
from roost.log.dispatch import HEAD_START


@dataclass(frozen=True)
class Design:
    """`directed`: hints go from node to node, to the one that they concern, instead of to everybody by NOTIFY.
    `pooled`: a pooler shares the connections that stand for nobody. `seldom_listed`: the list of all nodes is read with
    every tenth beat. `split`: databases, each with its share of the sessions and of the nodes."""

    name: str
    directed: bool = False
    seldom_listed: bool = False
    pooled: bool = False
    split: int = 1


@dataclass(frozen=True)
class Use:
    """Of one database with `nodes` nodes. `cores`: by what the CPU time goes into."""

    nodes: int
    cores: dict[str, float]
    connections: float
    commits: float
    wal: float
    notify: float
    """Share of the time in which the lock of NOTIFY is held."""

    @property
    def shares(self) -> dict[str, float]:
        """Of what there is of each resource; above 1 it does not work."""
        hardware = costs()["hardware"]
        return {
            "CPU": sum(self.cores.values()) / (hardware["cores"] * hardware["usable_share"]),
            "connections": self.connections / hardware["max_connections"],
            "NOTIFY's lock": self.notify,
            "WAL": self.wal / hardware["wal_bytes_per_second"],
        }

    @property
    def first(self) -> tuple[str, float]:
        """The resource that ends first, and its share."""
        return max(self.shares.items(), key=lambda pair: pair[1])


AS_BUILT = Design("as built")
DIRECTED = Design("hints from node to node", directed=True)
POOLED = Design("and a pooler", directed=True, pooled=True)
LISTED = Design("and the list of nodes with every tenth beat", directed=True, pooled=True, seldom_listed=True)
SPLIT = Design("and ten databases with nodes of their own", directed=True, pooled=True, seldom_listed=True, split=10)
DESIGNS = (AS_BUILT, DIRECTED, POOLED, LISTED, SPLIT)
SIZES = (3, 10, 100, 300, 1000)


def use(nodes: int, design: Design = AS_BUILT) -> Use:
    there: Any = costs()
    nodes = max(1, round(nodes / design.split))
    rates = _rates(nodes)
    cores = _work(rates, there) | _upkeep(nodes, design, there) | _hints(nodes, rates, design, there)
    protocol, notify = there["protocol"], there["notify"]
    sent = _sent(nodes, rates, design)
    steps, turns = rates
    batch = _batch(steps / nodes)
    return Use(
        nodes=nodes,
        cores={name: value / 1e6 for name, value in cores.items()},
        connections=nodes * (1 + (0.5 if design.pooled else protocol["connections_busy"])),
        commits=steps / batch + 3 * turns + sent + nodes / protocol["beat_seconds"],
        wal=steps * there["step"]["batch_1"]["wal_bytes"]
        + turns * (there["accept"]["wal_bytes"] + there["claim"]["wal_bytes"]),
        notify=sent * notify["lock_us"] / 1e6,
    )


def most(design: Design, least: int = 1, largest: int = 100_000) -> int:
    """The largest number of nodes with which every resource suffices."""
    low, high = least, largest
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if use(middle, design).first[1] <= 1 else (low, middle - 1)
    return low


def _rates(nodes: int) -> tuple[float, float]:
    """(steps, turns) a second of all nodes."""
    load = costs()["workload"]
    steps = nodes * load["sessions_per_node"] * load["awake_share"] / load["step_seconds"]
    return steps, steps / load["steps_per_turn"]


def _batch(steps_per_node: float) -> float:
    """Steps in one commit of a node: those that come while the one before is under way."""
    hardware = costs()["hardware"]
    return 1 + steps_per_node * (hardware["fsync_ms"] + hardware["round_trip_ms"]) / 1e3


def _work(rates: tuple[float, float], there: Any) -> dict[str, float]:
    """µs a second: what sessions need."""
    steps, turns = rates
    return {
        "steps": steps * step_us(_batch(costs()["workload"]["sessions_per_node"] * 0.01 / 3)),
        "turns": turns * (there["accept"]["cpu_us"] + of_nodes("idle_claim_us", 3) + there["claim"]["cpu_us"]),
    }


def _upkeep(nodes: int, design: Design, there: Any) -> dict[str, float]:
    """µs a second: what nodes need."""
    config, protocol = KernelConfig(), there["protocol"]
    listed = of_nodes("list_us", nodes) * (0.1 if design.seldom_listed else 1)
    return {
        "liveness": nodes
        * (
            of_nodes("tick_us", nodes) / protocol["tick_seconds"]
            + (of_nodes("beat_us", nodes) + listed) / protocol["beat_seconds"]
        ),
        "looking": nodes
        * (of_nodes("look_us", nodes) / protocol["look_seconds"] + of_nodes("idle_claim_us", nodes) / config.scan),
    }


def _sent(nodes: int, rates: tuple[float, float], design: Design) -> float:
    """Notifications a second: of commits, and of inputs that their own node may not take."""
    if nodes == 1 or design.directed:
        return 0.0
    steps, turns = rates
    return nodes * min(costs()["protocol"]["notices_per_second"], (steps + 2 * turns) / nodes)


def _hints(nodes: int, rates: tuple[float, float], design: Design, there: Any) -> dict[str, float]:
    """µs a second: what nodes tell each other, and what they do about it: a node that hears of an input which nobody
    has taken looks for work, and again when the head start of its home is over; both no more often than so. Events of
    others are heard, and looked at by their readers alone."""
    sent = _sent(nodes, rates, design)
    heard = min(sent, rates[1]) * (nodes - 1) / nodes
    looks = min(heard, 1 / there["protocol"]["hints_apart_seconds"]) + min(heard, 1 / (1.2 * HEAD_START))
    return {
        "hints": sent * (there["notify"]["cpu_us"] + nodes * there["notify"]["listener_us"]),
        "looking after hints": nodes * looks * of_nodes("idle_claim_us", nodes),
    }
