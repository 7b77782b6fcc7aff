"""A crash at any commit of a session's move to another version of its agent: asked again, it has moved once, and the
index says what the log says."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

import pytest

from roost.agent.definition import Agent, decode_spec
from roost.errors import RoostError
from roost.features.upgrades.events import SessionMoved
from roost.kernel.check import check
from roost.kernel.config import KernelConfig
from roost.kernel.state_loader import load_state
from roost.log.store import Store
from roost.runtime import Runtime
from roost.stores.open import open_store
from roost.testing.scripted import ScriptedModel
from tests.harness.crash.killing import KillingStore, When

_CONFIG = KernelConfig(linger=0.05, scan=0.1, lease=3.0)


def clerk(text: str) -> Agent:
    return Agent("clerk", instructions=text, model=ScriptedModel(lambda request: request.instruction))


@contextlib.asynccontextmanager
async def up(home: Path, store: Store | None = None, text: str = "two"):
    runtime = Runtime(home, agents=[clerk(text)], config=_CONFIG, store=store)
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.stop(grace=0.0)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_at_any_commit(tmp_path: Path, when: When) -> None:
    begun = tmp_path / "begun"
    async with up(begun, text="one") as runtime:
        session = await runtime.session("clerk", id="s")
        assert "one" in await session.ask("hi")
    struck: list[str] = []
    wanted = ("session.moved", "accept move")
    for again in range(5):  # what is written at the same time shares commits now so, now otherwise
        for at in range(1, 20):
            found = await _crash(begun, tmp_path / f"{again}.{at}", at, when)
            if found is None:
                break
            struck.append(found)
        if all(kind in " ".join(struck) for kind in wanted):
            return
    raise AssertionError(struck)


async def _crash(begun: Path, home: Path, at: int, when: When) -> str | None:
    await asyncio.to_thread(shutil.copytree, begun, home)
    inner = await open_store(home / "roost.db")
    struck: list[str] = []
    store = KillingStore(inner, at=at, when=when, session="s", how="fail", on_strike=struck.append)
    with contextlib.suppress(RoostError):
        async with up(home, store) as runtime:
            work = asyncio.create_task(_work(runtime))
            while not work.done() and not store.dead:
                await asyncio.sleep(0.005)
            work.cancel()
            with contextlib.suppress(RoostError, asyncio.CancelledError):
                await work
    async with up(home) as runtime:
        await asyncio.wait_for(_work(runtime), 30)
        log = [record.event for record in await runtime.sessions.history("s")]
        assert sum(isinstance(event, SessionMoved) for event in log) == 1, struck
        state = await load_state(runtime.node.store, "s")
        version = decode_spec(state.spec).version
        assert (await runtime.sessions.get("s")).version == version == clerk("two").spec.version, struck
    assert (await check(home / "roost.db")).faults == [], struck
    return struck[0] if struck else None


async def _work(runtime: Runtime) -> None:
    await runtime.upgrades.move_to("s", key="move")
    async for record in runtime.sessions.tail("s"):
        if isinstance(record.event, SessionMoved):
            break
    assert "two" in await runtime.open("s").ask("hi", key="m")
