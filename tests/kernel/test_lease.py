"""A node that loses its lease: it stops at once, others go on, and it comes back by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from roost.kernel.config import KernelConfig
from roost.log import events as ev
from roost.testing.proxy import TcpProxy

from .nodes import Hands, node, unreliable, until_owned
from .support import calling, events, kinds, place, until

SHORT = KernelConfig(linger=0.05, scan=0.2, lease=1.0)
_SCRIPT = (calling("hold"), "done")


async def test_a_node_that_cannot_beat_stops_at_once_and_another_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hands = Hands()
    caplog.set_level(logging.WARNING, "roost")
    async with contextlib.AsyncExitStack() as stack:
        first = unreliable(tmp_path, "one", hands.agent("one", *_SCRIPT), config=SHORT)
        one, link = await stack.enter_async_context(first)
        sessions = [await one.session("a") for _ in range(30)]
        for session in sessions:
            await session.send("hi")
        async with asyncio.timeout(5):
            while len(hands.began) < 30:
                await asyncio.sleep(0.01)
        assert one.kernel.holds_lease
        second = node(tmp_path, "two", hands.agent("two", *_SCRIPT), config=SHORT)
        two = await stack.enter_async_context(second)
        link.down, began = True, time.monotonic()
        async with asyncio.timeout(3):
            while one.kernel.live:
                await asyncio.sleep(0.01)
        assert time.monotonic() - began < 1.2
        assert not one.kernel.holds_lease
        assert hands.cut == ["one"] * 30
        for session in sessions:
            await until_owned(two, session.id, timeout=3)
        hands.gate.set()
        for session in sessions:
            await until(session, ev.TurnCompleted, timeout=5)
        await asyncio.sleep(1.0)
        said = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert 1 <= len(said) < 15
        link.down = False
        async with asyncio.timeout(3):
            while not one.kernel.holds_lease:
                await asyncio.sleep(0.01)
        await two.kernel.drain(grace=0)
        assert await asyncio.wait_for(sessions[0].ask("again"), 5) == "done"
        assert kinds(await events(sessions[0], one)).count("tool.completed") == 2


async def test_what_was_in_progress_goes_on_when_a_lone_node_is_back(tmp_path: Path) -> None:
    hands = Hands()
    async with unreliable(tmp_path, "one", hands.agent("one", *_SCRIPT), config=SHORT) as (one, link):
        session = await one.session("a")
        asking = asyncio.create_task(session.ask("hi"))
        await hands.started.wait()
        link.down = True
        async with asyncio.timeout(3):
            while one.kernel.live:
                await asyncio.sleep(0.01)
        claims = link.claims
        await asyncio.sleep(0.5)
        assert link.claims == claims
        link.down = False
        hands.gate.set()
        assert await asyncio.wait_for(asking, 5) == "done"
        assert hands.began == ["one", "one"]


async def test_tools_that_keep_all_threads_busy_do_not_cost_the_lease(tmp_path: Path) -> None:
    async with node(tmp_path, "one", Hands().agent("one", "done"), config=SHORT) as one:
        gate, loop = threading.Event(), asyncio.get_running_loop()
        busy = [loop.run_in_executor(None, gate.wait) for _ in range(64)]
        try:
            until = time.monotonic() + 2.5
            while time.monotonic() < until:
                assert one.kernel.holds_lease
                await asyncio.sleep(0.05)
        finally:
            gate.set()
            await asyncio.gather(*busy)


@contextlib.asynccontextmanager
async def _behind_a_proxy() -> AsyncGenerator[tuple[TcpProxy, str]]:
    assert place.url is not None
    proxy = TcpProxy.to(place.url)
    await proxy.start()
    try:
        yield proxy, proxy.through(place.url)
    finally:
        proxy.heal()
        await proxy.close()


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_a_node_whose_network_is_gone_in_silence_stops_and_comes_back(tmp_path: Path) -> None:
    hands = Hands()
    async with contextlib.AsyncExitStack() as stack:
        proxy, url = await stack.enter_async_context(_behind_a_proxy())
        first = node(tmp_path, "one", hands.agent("one", *_SCRIPT), config=SHORT, store=url)
        one = await stack.enter_async_context(first)
        session = await one.session("a")
        await session.send("hi")
        await hands.started.wait()
        second = node(tmp_path, "two", hands.agent("two", *_SCRIPT), config=SHORT)
        two = await stack.enter_async_context(second)
        proxy.hold()
        began = time.monotonic()
        await until_owned(two, session.id, timeout=4)
        assert time.monotonic() - began < 2.0
        async with asyncio.timeout(3):
            while one.kernel.holds_lease or one.kernel.live:
                await asyncio.sleep(0.01)
        assert hands.cut == ["one"]
        hands.gate.set()
        await until(two.open(session.id), ev.TurnCompleted, timeout=5)
        proxy.heal()
        async with asyncio.timeout(15):
            while not one.kernel.holds_lease:
                await asyncio.sleep(0.05)
        await two.kernel.drain(grace=0)
        assert await asyncio.wait_for(one.open(session.id).ask("again"), 5) == "done"


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_readers_and_handlers_outlive_a_database_that_is_away(tmp_path: Path) -> None:
    hands = Hands()
    async with (
        _behind_a_proxy() as (proxy, url),
        node(tmp_path, "one", hands.agent("one", *_SCRIPT), config=SHORT, store=url) as one,
    ):
        session = await one.session("a")
        heard: list[str] = []
        session.bus.on(ev.TurnCompleted, lambda event: heard.append(event.outcome), after=0)
        asking = asyncio.create_task(session.ask("hi"))
        await hands.started.wait()
        proxy.refuse()
        proxy.cut()
        await asyncio.sleep(1.5)
        assert not one.kernel.holds_lease
        hands.gate.set()
        proxy.heal()
        assert await asyncio.wait_for(asking, 10) == "done"
        async with asyncio.timeout(5):
            while not heard:
                await asyncio.sleep(0.05)
        assert heard == ["answered"]
        await session.bus.close()
