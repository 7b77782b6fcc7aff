"""A node that loses its lease: it stops at once, others go on, and it comes back by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from roost.kernel.config import KernelConfig
from roost.log import events as ev
from roost.testing.clock import MovedClock
from tests.harness.proxy import TcpProxy

from .nodes import Hands, node, unreliable, until_owned
from .support import calling, events, kinds, place, so, until

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
        # A machine that stands still for a second costs the lease too, and what was cut then begins again.
        await so(lambda: len(hands.began) - len(hands.cut) == 30)
        second = node(tmp_path, "two", hands.agent("two", *_SCRIPT), config=SHORT)
        two = await stack.enter_async_context(second)
        link.down = True
        caplog.clear()
        await so(lambda: not one.node.slots.live)
        assert not one.node.membership.holds_lease
        cut = hands.cut.count("one")
        assert cut == hands.began.count("one") >= 30
        for session in sessions:
            await until_owned(two, session.id)
        hands.gate.set()
        for session in sessions:
            await until(session, ev.TurnCompleted)
        assert hands.both == []
        tried = link.refused
        await so(lambda: link.refused >= tried + 5)
        assert hands.began.count("one") == cut
        said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        failing = [line for line in said if "cut off" in line]
        assert 1 <= len(failing) == len(set(failing)), "a line for what fails, and one only"
        assert len(said) < 30, "nor one for each session"
        link.down = False
        await so(lambda: one.node.membership.holds_lease)
        await two.node.drain(grace=0)
        assert await asyncio.wait_for(sessions[0].ask("again"), 30) == "done"
        assert kinds(await events(sessions[0], one)).count("tool.completed") == 2


async def test_what_was_in_progress_goes_on_when_a_lone_node_is_back(tmp_path: Path, clock: MovedClock) -> None:
    hands = Hands()
    async with unreliable(tmp_path, "one", hands.agent("one", *_SCRIPT), config=SHORT) as (one, link):
        session = await one.session("a")
        asking = asyncio.create_task(session.ask("hi"))
        await hands.started.wait()
        link.down = True
        clock.skip(SHORT.lease)
        await so(lambda: not one.node.slots.live)
        claims, tried = link.claims, link.refused
        await so(lambda: link.refused >= tried + 3)
        assert link.claims == claims
        link.down = False
        hands.gate.set()
        assert await asyncio.wait_for(asking, 30) == "done"
        assert len(hands.began) == len(hands.cut) + 1 >= 2


async def test_tools_that_keep_all_threads_busy_do_not_cost_the_lease(tmp_path: Path) -> None:
    async with unreliable(tmp_path, "one", Hands().agent("one", "done"), config=SHORT) as (one, link):
        gate, loop = threading.Event(), asyncio.get_running_loop()
        busy = [loop.run_in_executor(None, gate.wait) for _ in range(64)]
        try:
            beats = link.beats
            await so(lambda: link.beats > beats + 3 and one.node.membership.holds_lease)
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
        await until_owned(two, session.id)
        await so(lambda: not one.node.membership.holds_lease and not one.node.slots.live)
        assert (hands.both, hands.cut.count("one")) == ([], hands.began.count("one"))
        hands.gate.set()
        await until(two.open(session.id), ev.TurnCompleted)
        proxy.heal()
        await so(lambda: one.node.membership.holds_lease)
        await two.node.drain(grace=0)
        assert await asyncio.wait_for(one.open(session.id).ask("again"), 30) == "done"


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
        await so(lambda: not one.node.membership.holds_lease)
        hands.gate.set()
        proxy.heal()
        assert await asyncio.wait_for(asking, 30) == "done"
        await so(lambda: heard)
        assert heard == ["answered"]
        await session.bus.close()
