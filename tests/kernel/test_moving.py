"""A session keeps the version of its agent that it began with, until it is told to move: between turns, once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from roost.agent.definition import Agent
from roost.errors import Conflict, Invalid
from roost.features.upgrades.events import SessionMoved
from roost.kernel.placement import PartsUnknown
from roost.testing.scripted import ScriptedModel

from .support import Traces, agent, asleep, calling, events, kinds, running, until


def told(text: str) -> Agent:
    """An agent that answers with its version's own words."""
    return Agent("a", instructions=text, model=ScriptedModel(lambda request: request.instruction))


async def test_a_sleeping_session_moves_when_it_is_told_and_not_before(tmp_path: Path) -> None:
    async with running(tmp_path, told("one")) as runtime:
        session = await runtime.session("a")
        first = (await session.inspect()).info.version
        await session.ask("hi")
        await asleep(runtime, session)
        runtime.agents.add(told("two"))
        assert "one" in await session.ask("hi")
        await asleep(runtime, session)
        await runtime.upgrades.move_to(session.id, by="ann")
        moved = await until(session, SessionMoved)
        assert (moved.source, moved.version) == ("ann", told("two").spec.version)
        assert "two" in await session.ask("hi")
        info = (await session.inspect()).info
        assert info.version == moved.version != first
        await asleep(runtime, session)
        assert await runtime.upgrades.move_to(session.id) is None  # it is that already
        assert kinds(await events(session, runtime)).count("session.moved") == 1
    async with running(tmp_path, told("three")) as runtime:  # and after a restart
        assert "two" in await runtime.open(session.id).ask("hi")


async def test_a_turn_ends_in_the_version_it_began_in(tmp_path: Path) -> None:
    traces = Traces()
    async with running(tmp_path, agent([calling("safe"), "done"], traces.tools())) as runtime:
        session = await runtime.session("a")
        asked = asyncio.create_task(session.ask("hi"))
        await traces.started.wait()
        runtime.agents.add(told("two"))
        await runtime.upgrades.move_to(session.id)
        await runtime.upgrades.move_to(session.id, key="again")
        await runtime.upgrades.move_to(session.id, key="again")
        later = asyncio.create_task(session.ask("more"))
        await asyncio.sleep(0.1)
        assert "session.moved" not in kinds(await events(session, runtime))
        traces.gate.set()
        assert await asked == "done"
        assert "two" in await later
        log = kinds(await events(session, runtime))
        assert log.count("session.moved") == 2
        assert log.index("turn.completed") < log.index("session.moved")


async def test_changes_that_wait_for_one_turn_all_count(tmp_path: Path) -> None:
    traces = Traces()
    async with running(tmp_path, agent([calling("safe"), "done"], traces.tools())) as runtime:
        session = await runtime.session("a")
        asked = asyncio.create_task(session.ask("hi"))
        await traces.started.wait()
        await runtime.upgrades.adjust(session.id, permissions="read_only", key="narrow")
        await runtime.upgrades.adjust(session.id, model="local")
        await runtime.upgrades.adjust(session.id, permissions="read_only", key="narrow")
        traces.gate.set()
        assert await asked == "done"
        await until(session, SessionMoved)
        await asleep(runtime, session)
        view = await session.inspect()
        assert (view.permissions, view.model) == ("read_only", "local")


async def test_changes_that_come_at_the_same_time_all_count(tmp_path: Path) -> None:
    traces = Traces()
    async with running(tmp_path, agent([calling("safe"), "done"], traces.tools())) as runtime:
        session = await runtime.session("a")
        asked = asyncio.create_task(session.ask("hi"))
        await traces.started.wait()
        adjust = runtime.upgrades.adjust
        await asyncio.gather(adjust(session.id, permissions="read_only"), adjust(session.id, model="local"))
        traces.gate.set()
        assert await asked == "done"
        await until(session, SessionMoved)
        await asleep(runtime, session)
        view = await session.inspect()
        assert (view.permissions, view.model) == ("read_only", "local")


async def test_an_agent_whose_python_parts_are_not_known_here_is_not_adjusted(tmp_path: Path) -> None:
    async with running(tmp_path, told("one")) as runtime:
        session = await runtime.session("a")
        await session.ask("hi")
        await asleep(runtime, session)
    async with running(tmp_path, Agent("b", model=ScriptedModel(lambda request: "b"))) as runtime:
        with pytest.raises(PartsUnknown):
            await runtime.upgrades.adjust(session.id, permissions="read_only")


async def test_what_it_cannot_move_to(tmp_path: Path) -> None:
    async with running(tmp_path, told("one"), Agent("b", model=ScriptedModel(lambda request: "b"))) as runtime:
        session = await runtime.session("a")
        with pytest.raises(Invalid, match="of the agent 'a'"):
            await runtime.upgrades.move_to(session.id, runtime.agents.get("b"))
        await session.control("stop")
        with pytest.raises(Conflict, match="start it"):
            await runtime.upgrades.move_to(session.id)


async def test_a_session_that_waits_or_is_paused_moves_afterwards(tmp_path: Path) -> None:
    traces = Traces()
    asking = agent([calling("never"), "done"], traces.tools(), permissions="workspace")
    async with running(tmp_path, asking) as runtime:
        session = await runtime.session("a")
        await session.send("hi")
        await session.control("pause")
        runtime.agents.add(told("two"))
        await runtime.upgrades.move_to(session.id)
        await asleep(runtime, session)
        await asyncio.sleep(0.3)
        info = await runtime.sessions.get(session.id)
        assert (info.owner, info.state) == (None, "paused")
        assert info.pending >= 1
        assert "session.moved" not in kinds(await events(session, runtime))
        traces.gate.set()
        await session.control("resume")
        await until(session, SessionMoved)


async def test_every_node_runs_what_one_node_was_told(tmp_path: Path) -> None:
    async with running(tmp_path, told("one")) as here, running(tmp_path, told("one")) as there:
        session = await here.session("a")
        await session.ask("hi")
        here.agents.add(told("two"))
        await here.upgrades.move_to(session.id)
        await until(session, SessionMoved)
        answers = [await node.open(session.id).ask("hi") for node in (there, here, there)]
        assert all("two" in answer for answer in answers)
        assert (await there.sessions.get(session.id)).version == told("two").spec.version
