"""The simulation of docs/operate/scale.md: deterministic, loses nothing, and close to real processes at three nodes."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from bench.scale import scenarios
from bench.scale.__main__ import PAGE, TABLES, put
from bench.scale.costs import FILE
from bench.scale.limits import AS_BUILT, DIRECTED, LISTED, POOLED, SIZES, most, use
from bench.scale.scenarios import Outcome, World

from roost.log.content import Text
from roost.log.dispatch import NodeCard
from roost.log.inputs import MessageInput
from roost.log.protocols import Change, NewSession
from roost.log.store import Store
from roost.stores.open import open_store
from tests.harness.postgres.server import PostgresServer

_SMALL: dict[str, Any] = {"sessions": 3000, "live_each": 30}


def every_kind(nodes: int, seed: int) -> dict[str, Outcome]:
    return {
        "kill": scenarios.kill(nodes, seed=seed, **_SMALL),
        "third": scenarios.kill(nodes, seed=seed, share=1 / 3, **_SMALL),
        "partition": scenarios.partition(nodes, seed=seed, **_SMALL),
        "zombie": scenarios.zombie(nodes, seed=seed, **_SMALL),
        "restart": scenarios.restart(nodes, seed=seed, outage=1.0, **_SMALL),
        "cuts": scenarios.cuts(nodes, seed=seed, **_SMALL),
        "storm": scenarios.storm(nodes, seed=seed, waking=500, **_SMALL),
    }


def test_equal_seeds_are_equal_runs() -> None:
    assert every_kind(10, seed=7) == every_kind(10, seed=7)
    assert every_kind(10, seed=7)["kill"] != every_kind(10, seed=8)["kill"]


@pytest.mark.parametrize("nodes", [2, 3, 10, 40])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_session_is_lost_and_none_is_two_nodes(nodes: int, seed: int) -> None:
    """Each scenario ends with `World.check`, which raises."""
    for name, played in every_kind(nodes, seed).items():
        assert len(played.times) == played.hit, f"{name}: some never went on"
        assert played.stale == 0, f"{name}: an append of a former owner was taken"


def test_the_check_finds_what_is_wrong() -> None:
    def lost(world: World) -> None:
        session = next(iter(world.rows.owned[0]))
        world.rows.owned[0].discard(session)
        world.rows.owner[session] = -1

    def doubled(world: World) -> None:
        session = next(iter(world.rows.owned[0]))
        world.rows.owned[1].add(session)

    for break_it in (lost, doubled):
        world = World(3, seed=1, **_SMALL)
        world.check()
        break_it(world)
        with pytest.raises(AssertionError):
            world.check()


def test_a_partition_ends_with_the_lease_and_runs_nothing_twice() -> None:
    played = [scenarios.partition(5, seed=seed, **_SMALL) for seed in range(10)]
    assert all(one.at(0) > 5 and one.at(100) < 10.5 for one in played)
    assert all(one.together == 0 for one in played)


@pytest.mark.parametrize("nodes", [2, 3, 10, 40])
def test_who_lives_keeps_his_sessions_when_the_database_is_back(nodes: int) -> None:
    """Also when connections broke: a free lock is no death before its node could be back."""
    for outage in (0.0, 0.5, 2.0):
        assert scenarios.restart(nodes, seed=1, outage=outage, **_SMALL).fenced == 0
    for share in (0.5, 1.0):
        assert all(scenarios.cuts(nodes, seed=seed, share=share, **_SMALL).fenced == 0 for seed in range(5))


def test_every_parameter_has_its_source() -> None:
    def tables(found: dict[str, object]) -> Iterator[dict[str, object]]:
        inner = [value for value in found.values() if isinstance(value, dict)]
        if inner:
            for one in inner:
                yield from tables(one)
        else:
            yield found

    for one in tables(tomllib.loads(FILE.read_text())):
        assert one.get("source"), one


def test_what_ends_first() -> None:
    """As it is built, talk ends first, well before the work does; with hints to whom they concern it is the work."""
    shares = [use(nodes).first[1] for nodes in SIZES]
    assert shares == sorted(shares)
    assert most(AS_BUILT) < most(DIRECTED) <= most(POOLED) <= most(LISTED)
    talk = use(1000).cores
    assert talk["hints"] > 10 * talk["steps"]


def test_the_page_has_these_numbers() -> None:
    page = PAGE.read_text()
    for name in ("spent", "resources", "designs"):
        assert put(page, name, TABLES[name]()) == page, "python -m bench.scale --quick"


_VICTIM = """
import asyncio, sys
from roost.stores.open import open_store
from roost.log.dispatch import NodeCard
async def main():
    store = await open_store(sys.argv[1])
    await store.dispatch.beat(NodeCard(id="node_1"), ttl=10)
    await store.dispatch.claim("node_1")
    print("ready", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
_SESSIONS = 50


@pytest.fixture
async def url() -> AsyncIterator[str]:
    server = PostgresServer()
    await asyncio.to_thread(server.start)
    try:
        yield await server.database()
    finally:
        await asyncio.to_thread(server.close)


async def test_three_real_nodes_take_about_as_long(url: str) -> None:
    """A process that owns 50 sessions is killed; two others have them. Against the median of the simulated."""
    simulated = [scenarios.kill(3, sessions=1000, live_each=_SESSIONS, seed=seed, lone=True) for seed in range(20)]
    expected = statistics.median(one.at(100) for one in simulated)
    first, second = await open_store(url), await open_store(url)
    try:
        for number in range(_SESSIONS):
            session = f"s{number}"
            await first.sessions.create(NewSession(id=session, agent="a", version="1"), [])
            await first.inboxes.accept(session, MessageInput((Text("hello"),)))
        measured = [await _takeover(url, [("node_0", first), ("node_2", second)]) for _ in range(3)]
    finally:
        await first.close()
        await second.close()
    assert expected / 5 < statistics.median(measured) < max(expected * 5, 0.3), (expected, measured)


async def _takeover(url: str, others: list[tuple[str, Store]]) -> float:
    for name, store in others:
        await store.dispatch.leave(name)
    victim = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _VICTIM, url, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert victim.stdout is not None
    assert await victim.stdout.readline() == b"ready\n"
    loop, got, all_there = asyncio.get_running_loop(), set[str](), asyncio.Event()

    def taker(name: str, store: Store) -> asyncio.Task[None]:
        look = asyncio.Event()

        def changed(_: Change) -> None:
            look.set()

        async def take() -> None:
            unwatch = store.changes.watch(changed)
            try:
                while not all_there.is_set():
                    await look.wait()
                    look.clear()
                    while claims := await store.dispatch.claim(name):
                        got.update(claim.info.id for claim in claims)
                    if len(got) == _SESSIONS:
                        all_there.set()
            finally:
                unwatch()

        return asyncio.create_task(take())

    for name, store in others:
        await store.dispatch.beat(NodeCard(id=name), ttl=10)
    tasks = [taker(name, store) for name, store in others]
    try:
        await asyncio.sleep(0.5)
        assert not got, "a living node keeps what is its"
        began = loop.time()
        victim.kill()
        async with asyncio.timeout(30):
            await all_there.wait()
        return loop.time() - began
    finally:
        await victim.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
