"""Users at a cluster to which one fault after another happens."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from tests.harness.cluster.faults import FAULTS, Scene
from tests.harness.cluster.nodes import Nodes
from tests.harness.cluster.report import ClusterReport, Times
from tests.harness.cluster.users import Users, patiently
from tests.harness.crash.daemon import Settings
from tests.harness.crash.plans import PLANS, script
from tests.harness.postgres.server import PostgresServer

from roost.log.store import Store
from roost.stores.open import open_store
from roost.stub.provider import ProviderServer

if TYPE_CHECKING:
    from tests.harness.doors.users import DoorUsers


_UNASKED = ("say", "two", "look")
"""Plans in which no person is asked."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """It goes through the faults named (see `FAULTS`) and then on for the rest of `seconds` with some drawn at random.
    `plans` is what the users ask for. `doors`: those by which they come; Roost's own API if there are none. `lease`
    in seconds; `between`: from the end of a fault to the next one."""

    seconds: float = 60.0
    nodes: int = 3
    users: int = 6
    seed: int = 0
    lease: float = 2.0
    between: tuple[float, float] = (0.5, 2.5)
    faults: Sequence[str] = ()
    plans: Sequence[str] = tuple(PLANS)
    doors: Sequence[str] = ()


async def cluster_storm(
    folder: Path, server: PostgresServer, plan: Plan, *, say: Callable[[str], None] = lambda _: None
) -> ClusterReport:
    """Run the plan on a fresh database of this server, with the nodes' homes below `folder`. Time is real: a seed does
    not repeat a run exactly."""
    report = ClusterReport(name="several nodes", seed=plan.seed, nodes=plan.nodes)
    began = time.monotonic()
    (folder / "snapshots").mkdir(parents=True)
    pace = 0.03 if plan.doors else 0.002
    with ProviderServer(script(seed=plan.seed, delay=(0.0, 0.3), pace=pace)) as provider:
        settings = Settings(
            home=folder,
            model=f"{provider.url}#scripted",
            witness=folder / "effects.jsonl",
            tools=(0.0, 0.3),
            store=await server.database(),
            snapshots=f"file://{folder}/snapshots",
            lease=plan.lease,
        )
        nodes = Nodes(folder, plan.nodes, settings)
        try:
            await _run(plan, settings, nodes, server, report, say)
        finally:
            await nodes.close()
        if not plan.doors:
            report.end(provider.stats, report.effects, (), ())
    report.seconds = time.monotonic() - began
    return report


async def _run(
    plan: Plan,
    settings: Settings,
    nodes: Nodes,
    server: PostgresServer,
    report: ClusterReport,
    say: Callable[[str], None],
) -> None:
    await nodes.start()
    assert settings.store is not None
    store = await open_store(settings.store)
    users = _users(plan, nodes, store, settings.witness, report)
    try:
        users.start(plan.users)
        times = Times()
        scene = Scene(nodes, server, store, plan.lease, random.Random(plan.seed), times)
        await _break(plan, scene, users, say)
        await users.end()
        times.into(report)
        report.ended_by_itself = nodes.ends
        report.problems += await nodes.stop()
        report.problems += await patiently(lambda: _left(store))
    finally:
        await users.close()
        await store.close()


def _users(plan: Plan, nodes: Nodes, store: Store, witness: Path, report: ClusterReport) -> Users | DoorUsers:
    if plan.doors:
        from tests.harness.doors.users import DoorUsers

        plans = [name for name in plan.plans if name in _UNASKED]
        return DoorUsers(nodes.endpoint, store, witness, report, seed=plan.seed, plans=plans, doors=plan.doors)
    return Users(nodes.endpoint, store, witness, report, seed=plan.seed, plans=plan.plans)


async def _break(plan: Plan, scene: Scene, users: Users | DoorUsers, say: Callable[[str], None]) -> None:
    until, named = time.monotonic() + plan.seconds, list(plan.faults)
    drawn = [name for name, (_, often) in FAULTS.items() for _ in range(often)]
    while not users.failed and (named or time.monotonic() < until):
        await asyncio.sleep(scene.chance.uniform(*plan.between))
        name = named.pop(0) if named else scene.chance.choice(drawn)
        began = time.monotonic()
        await FAULTS[name][0](scene)
        took = time.monotonic() - began
        back = await scene.nodes.healthy()
        scene.times.faults[name] += 1
        scene.times.back.setdefault(name, []).append(back)
        moved = ", ".join(f"{session} {seconds:.2f} s" for session, seconds in scene.times.last.items())
        scene.times.last = {}
        say(f"{name}: {took:.1f} s, all back after {back:.2f} s; taken over: {moved or 'none'}")


async def _left(store: Store) -> list[str]:
    """What the nodes left in the database when all have stopped."""
    nodes, backlog = await store.dispatch.nodes(), await store.dispatch.backlog()
    found = [f"node {node.card.id} is still known though it stopped" for node in nodes if node.alive]
    if backlog.sessions:
        found.append(f"{backlog.sessions} sessions wait for a node though all was settled")
    return found
