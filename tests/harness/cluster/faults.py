"""What goes wrong, one at a time. Each ends with everything as it was, so that all nodes can come back."""

from __future__ import annotations

import asyncio
import random
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from tests.harness.cluster.nodes import Node, Nodes
from tests.harness.cluster.report import Times
from tests.harness.cluster.takeover import at_work, takeovers
from tests.harness.postgres.server import PostgresServer

from roost.log.session_info import SessionInfo
from roost.log.store import Store


class Scene(msgspec.Struct):
    """`store` is a way to the database of its own, for looking. `lease` in seconds."""

    nodes: Nodes
    server: PostgresServer
    store: Store
    lease: float
    chance: random.Random
    times: Times

    def some_node(self) -> Node:
        return self.chance.choice(self.nodes.all)

    @property
    def patience(self) -> float:
        """Longer than any takeover may take; what takes longer counts so much."""
        return self.lease + 8.0


_DRAIN_SECONDS = 15.0
_BUSY_SECONDS = 5.0
Fault = Callable[[Scene], Awaitable[None]]


async def kill(scene: Scene) -> None:
    """kill -9 of a node, which is started again when others have its sessions."""
    node = scene.some_node()
    await _hit(scene, "kill", node, node.kill)
    node.spawn()


async def kill_all_but_one(scene: Scene) -> None:
    down = scene.chance.sample(scene.nodes.all, len(scene.nodes.all) - 1)
    for node in down:
        node.kill()
    await asyncio.sleep(scene.chance.uniform(0.2, 1.5))
    for node in down:
        node.spawn()


async def zombie(scene: Scene) -> None:
    """SIGSTOP for longer than the lease: it wakes up and believes that it owns what others took."""
    node = scene.some_node()
    await _hit(scene, "zombie", node, node.suspend)
    await asyncio.sleep(scene.chance.uniform(0.0, 1.5))
    node.resume()


async def short_stop(scene: Scene) -> None:
    """SIGSTOP for less than the lease: nothing needs to move."""
    node = scene.some_node()
    node.suspend()
    await asyncio.sleep(scene.lease * scene.chance.uniform(0.1, 0.7))
    node.resume()


async def partition(scene: Scene) -> None:
    """Its packets to the database, or the answers, or both, do not arrive; then they all do."""
    node = scene.some_node()
    up, down = scene.chance.choice([(True, True), (True, True), (True, False), (False, True)])
    await _hit(scene, "partition", node, lambda: node.proxy.hold(up=up, down=down))
    await asyncio.sleep(scene.chance.uniform(0.0, 1.5))
    node.proxy.heal()


async def cut(scene: Scene) -> None:
    """Its connections to the database are reset, and no new ones come about for a while."""
    node = scene.some_node()

    def act() -> None:
        node.proxy.refuse()
        node.proxy.cut(reset=scene.chance.random() < 0.5)

    await _hit(scene, "cut", node, act)
    node.proxy.heal()


async def blink(scene: Scene) -> None:
    """Its connections to the database are reset, and can be made anew at once."""
    scene.some_node().proxy.cut(reset=scene.chance.random() < 0.5)


async def slow(scene: Scene) -> None:
    node = scene.some_node()
    node.proxy.delay(scene.chance.uniform(0.01, 0.2))
    await asyncio.sleep(scene.chance.uniform(0.5, 2.0))
    node.proxy.heal()


async def clients_cut(scene: Scene) -> None:
    """Every connection of a client is reset."""
    scene.nodes.balancer.cut()


async def database_restart(scene: Scene) -> None:
    await asyncio.to_thread(scene.server.restart, scene.chance.choice(["fast", "immediate"]))


async def database_kill(scene: Scene) -> None:
    """kill -9 of all of PostgreSQL, and recovery."""
    await asyncio.to_thread(scene.server.kill)
    await asyncio.sleep(scene.chance.uniform(0.0, 1.0))
    await asyncio.to_thread(scene.server.start)


async def database_hangs(scene: Scene) -> None:
    await asyncio.to_thread(scene.server.suspend)
    await asyncio.sleep(scene.chance.uniform(0.5, scene.lease + 1.0))
    await asyncio.to_thread(scene.server.resume)


async def disk_full(scene: Scene) -> None:
    """No byte more for the database's tables."""
    await asyncio.to_thread(scene.server.fill_disk)
    await asyncio.sleep(scene.chance.uniform(2.0, 4.0))
    await _free_disk(scene)


async def wal_full(scene: Scene) -> None:
    """Nor for its write-ahead log: PostgreSQL gives up altogether."""
    await asyncio.to_thread(scene.server.fill_disk)
    for _ in range(20):
        try:
            await asyncio.to_thread(scene.server.run, "psql", "-c", "SELECT pg_switch_wal()")
        except subprocess.SubprocessError:
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(scene.chance.uniform(0.5, 2.0))
    await _free_disk(scene)


async def _free_disk(scene: Scene) -> None:
    await asyncio.to_thread(scene.server.free_disk)
    await asyncio.sleep(0.5)
    await asyncio.to_thread(scene.server.start)


async def rolling_restart(scene: Scene) -> None:
    """Each node is drained and started anew, one after the other; some are told to drain before they are stopped."""
    for node in scene.nodes.all:
        if scene.chance.random() < 0.5:
            left = await node.drain(_DRAIN_SECONDS)
            assert not left, f"{node.name} still has {left} sessions {_DRAIN_SECONDS:g} s after it was told to drain"
        await node.stop()
        node.spawn()
        await scene.nodes.healthy([node])


async def together(scene: Scene) -> None:
    """Two things at once, perhaps to the same node. How long a takeover takes then says nothing."""
    apart = msgspec.structs.replace(scene, times=Times())
    both = scene.chance.sample([kill, kill_all_but_one, zombie, partition, cut, database_restart, clients_cut], 2)
    await asyncio.gather(*(fault(apart) for fault in both))


FAULTS: Mapping[str, tuple[Fault, int]] = {
    "kill": (kill, 10),
    "kill_all_but_one": (kill_all_but_one, 2),
    "zombie": (zombie, 4),
    "short_stop": (short_stop, 2),
    "partition": (partition, 4),
    "cut": (cut, 3),
    "blink": (blink, 3),
    "slow": (slow, 1),
    "clients_cut": (clients_cut, 2),
    "database_restart": (database_restart, 2),
    "database_kill": (database_kill, 2),
    "database_hangs": (database_hangs, 1),
    "rolling_restart": (rolling_restart, 1),
    "together": (together, 4),
    "disk_full": (disk_full, 0),
    "wal_full": (wal_full, 0),
}
"""With how often each is drawn. The last two need a server with a disk of its own."""


async def _hit(scene: Scene, name: str, node: Node, act: Callable[[], None]) -> None:
    """Do it to the node, and see how long its sessions stand still."""
    before = await _at_work(scene.store, node.id)
    since = time.monotonic()
    act()
    found = await takeovers(scene.store, before, since, scene.patience)
    scene.times.moved(name, found)
    if not before:  # it had nothing to do: it is gone for as long as if it had
        await asyncio.sleep(scene.lease + 1.0 if name in ("zombie", "partition") else 0.3)


async def _at_work(store: Store, node: str) -> dict[str, SessionInfo]:
    """Something, if it gets anything to do soon."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while not (found := await at_work(store, node)) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    return found
