"""Several nodes on one store: who runs what, and what they tell each other."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roost.agent.definition import Agent
from roost.errors import Conflict, NotFound
from roost.kernel.config import KernelConfig
from roost.log import events as ev
from roost.log.dispatch import NodeCard, NodeInfo
from roost.log.protocols import Append
from roost.providers.accounts import Models
from roost.runtime import Runtime
from roost.testing.scripted import Answer, ScriptedModel, by_step
from tests.harness.wrapping import each_method

from .nodes import CALM, Hands, node, unreliable, until_owned
from .support import calling, events, place, said, so, until


async def test_a_drained_node_hands_over_and_goes_on_answering(tmp_path: Path) -> None:
    hands = Hands()
    script = (calling("hold"), "done")
    async with contextlib.AsyncExitStack() as stack:
        one = await stack.enter_async_context(node(tmp_path, "one", hands.agent("one", *script)))
        session = await one.session("a")
        asking = asyncio.create_task(session.ask("hi"))
        await hands.started.wait()
        two = await stack.enter_async_context(node(tmp_path, "two", hands.agent("two", *script)))
        await one.node.drain(grace=0.1)
        assert (one.node.membership.draining, one.node.slots.live) == (True, {})
        await until_owned(two, session.id, timeout=30)
        hands.gate.set()
        assert await asyncio.wait_for(asking, 30) == "done"
        assert (hands.began, hands.cut) == (["one", "two"], ["one"])
        assert await asyncio.wait_for(session.ask("through the drained one"), 30) == "done"
        assert hands.began == ["one", "two", "two"]
        await one.node.membership.renew()
        cards = {info.card.id: info.card for info in await two.node.store.dispatch.nodes()}
        assert cards[one.node.id].draining
        assert not cards[two.node.id].draining


async def test_draining_lets_a_step_end(tmp_path: Path) -> None:
    hands = Hands()
    script = (calling("hold"), "done")
    async with contextlib.AsyncExitStack() as stack:
        one = await stack.enter_async_context(node(tmp_path, "one", hands.agent("one", *script)))
        session = await one.session("a")
        asking = asyncio.create_task(session.ask("hi"))
        await hands.started.wait()
        two = await stack.enter_async_context(node(tmp_path, "two", hands.agent("two", *script)))
        draining = asyncio.create_task(one.node.drain(grace=10))
        async with asyncio.timeout(30):
            while not [each for each in await two.node.store.dispatch.nodes() if each.card.draining]:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.05)  # what it does next is to tell the session
        hands.gate.set()
        await asyncio.wait_for(draining, 30)
        assert await asyncio.wait_for(asking, 30) == "done"
        assert (hands.began, hands.cut) == (["one"], [])
        assert two.node.meters.takeovers == 1


async def test_a_full_node_leaves_work_to_others(tmp_path: Path) -> None:
    hands = Hands()
    script = (calling("hold"), "done")
    full = msgspec.structs.replace(CALM, max_live=1)
    async with contextlib.AsyncExitStack() as stack:
        one = await stack.enter_async_context(node(tmp_path, "one", hands.agent("one", *script), config=full))
        first = await one.session("a")
        await first.send("hi")
        await hands.started.wait()
        two = await stack.enter_async_context(node(tmp_path, "two", hands.agent("two", *script)))
        second = await one.session("a")
        await second.send("hi")
        await until_owned(two, second.id, timeout=30)
        hands.gate.set()
        await until(second, ev.TurnCompleted)
        assert hands.began == ["one", "two"]


async def test_sessions_go_to_nodes_that_have_what_they_need(tmp_path: Path) -> None:
    hands = Hands()
    async with (
        node(tmp_path, "gate", Agent("a", model="nowhere/x")) as gate,
        node(tmp_path, "worker", hands.agent("worker", calling("hold"), "done")) as worker,
    ):
        hands.gate.set()
        session = await worker.session("a")
        assert (await session.inspect()).info.needs == ("agent:a",)
        assert await asyncio.wait_for(gate.open(session.id).ask("hi"), 30) == "done"
        assert gate.node.meters.takeovers == 0
        assert hands.began == ["worker"]


async def test_files_stay_where_they_are(tmp_path: Path) -> None:
    def writer(text: str) -> Agent:
        answers = [calling("write_file", path="note.txt", content=text), "done"]
        return Agent("a", model=ScriptedModel(by_step(answers)), tools=["write_file"], permissions="all")

    async with node(tmp_path, "one", writer("1")) as one, node(tmp_path, "two", writer("2")) as two:
        session = await one.session("a")
        home = f"home:{one.node.place.home}"
        assert home in (await session.inspect()).info.needs
        assert home in one.node.membership.card().offers
        assert home not in two.node.membership.card().offers
        assert await asyncio.wait_for(two.open(session.id).ask("hi"), 30) == "done"
        assert (tmp_path / "one" / "workspaces" / session.id / "note.txt").read_text() == "1"
        home = one.node.place.home
    async with node(tmp_path, "one", writer("1")) as one:
        assert one.node.place.home == home


async def test_an_account_that_nobody_has_is_said_and_one_that_somebody_has_is_found(tmp_path: Path) -> None:
    def models(**environ: str) -> Models:
        return Models(environ=environ, dotenv=None)

    async def turn(runtime: Runtime) -> ev.TurnCompleted:
        session = await runtime.session("a")
        await session.send("hi")
        return await until(session, ev.TurnCompleted, timeout=30)

    crew = Agent("a", model="openai/m")
    async with node(tmp_path, "one", crew, models=models()) as one:
        assert "OPENAI_API_KEY" in str((await turn(one)).reason)
        have = models(OPENAI_API_KEY="k", OPENAI_BASE_URL="http://127.0.0.1:9/v1")
        async with node(tmp_path, "two", crew, models=have) as two:
            await one.node.membership.renew()
            assert "account:openai" not in one.node.membership.card().offers
            assert "account:openai" in two.node.membership.card().offers
            session = await one.session("a")
            await session.send("hi")
            await until_owned(two, session.id)
        await one.node.membership.renew()
        assert "account:openai" in one.node.membership.card().offers


async def test_what_others_write_costs_the_sessions_in_memory_nothing(tmp_path: Path) -> None:
    hands = Hands()
    script = (calling("hold"), "done")
    reads: list[str] = []
    store = await place.open(tmp_path)

    def counting(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        if name in ("inboxes.pending", "sessions.get"):
            return lambda session: (reads.append(session), method(session))[1]
        return method

    async with contextlib.AsyncExitStack() as stack:
        counted = node(tmp_path, "one", hands.agent("one", *script), store=each_method(store, counting))
        one = await stack.enter_async_context(counted)
        sessions = [await one.session("a") for _ in range(20)]
        for session in sessions:
            await session.send("hi")
        async with asyncio.timeout(30):
            while len(hands.began) < 20:
                await asyncio.sleep(0.02)
        two = await stack.enter_async_context(node(tmp_path, "two", hands.agent("two", *script)))
        await asyncio.sleep(0.5)
        reads.clear()
        log = asyncio.create_task(until(sessions[3], ev.Emitted))
        await two.sessions.send(sessions[3].id, "steer", mode="steer")
        await two.sessions.emit(sessions[3].id, "mine")
        async with asyncio.timeout(30):
            while not one.node.slots.live[sessions[3].id].inbox:
                await asyncio.sleep(0.01)
        assert set(reads) <= {sessions[3].id}
        assert len(reads) < 10
        hands.gate.set()
        await log
        await until(sessions[3], ev.TurnCompleted)
        assert said(await events(sessions[3], one)) == ["hi", "steer"]


async def test_a_session_that_was_taken_away_is_cut_at_once(tmp_path: Path) -> None:
    hands = Hands()
    async with node(tmp_path, "one", hands.agent("one", calling("hold"), "done")) as one:
        session = await one.session("a")
        await session.send("hi")
        await hands.started.wait()
        thief = await place.open(tmp_path)
        await thief.dispatch.beat(NodeCard(id="thief"), ttl=60)
        await thief.dispatch.leave(one.node.id)  # as one that believes it dead
        (claim,) = await thief.dispatch.claim("thief", session=session.id)
        emitted = ev.encode_event(ev.Emitted(at=1.0, name="stolen"))
        theft = Append(session=session.id, epoch=claim.epoch, expected=claim.info.head, bodies=[emitted])
        await thief.logs.append(theft)
        async with asyncio.timeout(30):
            while session.id in one.node.slots.live:
                await asyncio.sleep(0.01)
        assert hands.cut == ["one"]
        await thief.close()


class Neighbours:
    """Asks runtimes of the same process."""

    def __init__(self, *runtimes: Runtime) -> None:
        self.nodes = {runtime.node.id: runtime for runtime in runtimes}
        self.asked: list[str] = []

    async def evict(self, node: NodeInfo, session: str) -> bool:
        self.asked.append(session)
        await self.nodes[node.card.id].node.evict(session)
        return True


async def test_a_session_that_runs_elsewhere_can_be_deleted(tmp_path: Path) -> None:
    hands = Hands()
    script = (calling("hold"), "done")
    async with contextlib.AsyncExitStack() as stack:
        one = await stack.enter_async_context(node(tmp_path, "one", hands.agent("one", *script)))
        session = await one.session("a")
        await session.send("hi")
        await hands.started.wait()
        two = await stack.enter_async_context(node(tmp_path, "two", hands.agent("two", *script)))
        with pytest.raises(Conflict):  # the other node has no address
            await two.sessions.delete(session.id)
        two.node.deletions.peers = neighbours = Neighbours(one)  # type: ignore[assignment]
        await two.sessions.delete(session.id)
        assert neighbours.asked
        assert hands.cut == hands.began
        with pytest.raises(NotFound):
            await one.sessions.get(session.id)
        assert session.id not in one.node.slots.live


async def test_files_of_sessions_that_another_node_deleted_are_removed(tmp_path: Path) -> None:
    async with node(tmp_path, "one", Agent("a", tools=["shell"])) as one:
        gone, kept = await one.session("a"), await one.session("a")
        for session in (gone, kept):
            (tmp_path / "one" / "workspaces" / session.id).mkdir(parents=True)
    async with node(tmp_path, "two") as two:
        await two.sessions.delete(gone.id)
    folders = tmp_path / "one" / "workspaces"
    for number in range(450):
        (folders / f"gone{number}").mkdir()
    async with node(tmp_path, "one"), asyncio.timeout(30):
        while [one for one in folders.iterdir() if one.name not in (kept.id, ".bin")]:
            await asyncio.sleep(0.02)
    assert (folders / kept.id).exists()


async def test_files_of_another_store_are_left_alone(tmp_path: Path) -> None:
    async with Runtime(tmp_path / "one", agents=[Agent("a", tools=["shell"])]) as alone:
        elsewhere = await alone.session("a")
        (tmp_path / "one" / "workspaces" / elsewhere.id).mkdir(parents=True)
    async with node(tmp_path, "one"):
        await asyncio.sleep(0.3)
    assert (tmp_path / "one" / "workspaces" / elsewhere.id).exists()


async def test_a_timer_fires_once_and_one_node_looks_for_all(tmp_path: Path) -> None:
    crew = Agent("a", model=ScriptedModel(by_step(["ok"])))
    async with (
        unreliable(tmp_path, "one", crew) as (one, first),
        unreliable(tmp_path, "two", crew) as (two, second),
    ):
        await so(lambda: first.fired)
        assert second.fired == 0
        sessions = [await runtime.session("a") for runtime in (one, two) for _ in range(3)]
        due = time.time() + 0.7
        for place_, session in enumerate(sessions):
            runtime = one if place_ < 3 else two
            await runtime.sessions.set_timer(session.id, "t", due, "wake")
        for session in sessions:
            await until(session, ev.TurnCompleted)
        assert time.time() - due < CALM.lease / 4, "it came with a heartbeat or a scan"
        await asyncio.sleep(0.3)
        for session in sessions:
            assert said(await events(session, one)) == ["wake"]


async def test_another_node_takes_over_the_duties_of_one_that_leaves(tmp_path: Path) -> None:
    crew = Agent("a", model=ScriptedModel(by_step(["ok"])))
    quick = msgspec.structs.replace(CALM, session_timeout=0.3, cleanup_every=0.1)
    async with unreliable(tmp_path, "two", crew, config=quick) as (two, second):
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(node(tmp_path, "one", crew, config=quick))
            session, waits = await two.session("a"), await two.session("a")
            await two.sessions.set_timer(waits.id, "t", time.time() + 3600, "much later")
            await session.ask("hi")
        fired = second.fired
        await until(session, ev.ControlApplied, timeout=30)
        stops = [event for event in await events(session, two) if isinstance(event, ev.ControlApplied)]
        assert len(stops) == 1
        async with asyncio.timeout(30):
            while second.fired == fired:
                await asyncio.sleep(0.1)


async def test_a_claim_whose_answer_was_lost_is_found(tmp_path: Path) -> None:
    crew = Agent("a", model=ScriptedModel(by_step([Answer(text="ok")])))
    config = KernelConfig(linger=0.05, scan=0.5, lease=1.5)
    async with unreliable(tmp_path, "one", crew, config=config) as (one, dispatcher):
        dispatcher.lose_claims = 1
        session = await one.session("a")
        assert await asyncio.wait_for(session.ask("hi"), 30) == "ok"
        assert dispatcher.lose_claims == 0


async def test_changes_that_come_to_two_nodes_at_once_all_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = asyncio.Barrier(2)

    def together(inboxes: Any) -> None:
        """Let the next read of orders that wait return when the other node has read them, too."""
        read = inboxes.pending

        async def pending(session: str) -> Any:
            monkeypatch.setattr(inboxes, "pending", read)
            found = await read(session)
            await both.wait()
            return found

        monkeypatch.setattr(inboxes, "pending", pending)

    hands = Hands()
    answers = (calling("hold"), "done")
    async with (
        node(tmp_path, "one", hands.agent("one", *answers)) as one,
        node(tmp_path, "two", hands.agent("two", *answers)) as two,
    ):
        session = await one.session("a")
        await session.send("hi")
        await hands.started.wait()
        orders = [
            two.upgrades.adjust(session.id, permissions="read_only"),
            one.upgrades.adjust(session.id, model="local"),
        ]
        for each in (one, two):
            together(each.node.tenants.inboxes)
        await asyncio.gather(*orders)  # both read the definition before either has asked for its change
        assert len({one.input.base for one in await one.node.store.inboxes.pending(session.id)}) == 1
        hands.gate.set()
        async for record in one.sessions.tail(session.id):
            if record.body.startswith(b'{"type":"session.moved"') and not (await session.inspect()).info.pending:
                break
        view = await session.inspect()
        assert (view.permissions, view.model) == ("read_only", "local")
