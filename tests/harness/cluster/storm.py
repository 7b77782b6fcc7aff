"""Users at a cluster to which one fault after another happens."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

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


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """It goes through the faults named (see `FAULTS`) and then on for the rest of `seconds` with some drawn at random.
    `plans` is what the users ask for. `lease` in seconds; `between`: from the end of a fault to the next one."""

    seconds: float = 60.0
    nodes: int = 3
    users: int = 6
    seed: int = 0
    lease: float = 2.0
    between: tuple[float, float] = (0.5, 2.5)
    faults: Sequence[str] = ()
    plans: Sequence[str] = tuple(PLANS)


async def cluster_storm(
    folder: Path, server: PostgresServer, plan: Plan, *, say: Callable[[str], None] = lambda _: None
) -> ClusterReport:
    """Run the plan on a fresh database of this server, with the nodes' homes below `folder`. Time is real: a seed does
    not repeat a run exactly."""
    report = ClusterReport(name="several nodes", seed=plan.seed, nodes=plan.nodes)
    began = time.monotonic()
    (folder / "snapshots").mkdir(parents=True)
    with ProviderServer(script(seed=plan.seed, delay=(0.0, 0.3), pace=0.002)) as provider:
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
    users = Users(nodes.endpoint, store, settings.witness, report, seed=plan.seed, plans=plan.plans)
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


async def _break(plan: Plan, scene: Scene, users: Users, say: Callable[[str], None]) -> None:
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
