"""Two things at once: what comes in while a session is let go, taken up, or removed."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from roost.errors import Conflict, NotFound
from roost.log import events as ev
from roost.log.content import Text
from roost.log.inputs import ControlInput, MessageInput
from roost.runtime import TurnFailed
from roost.testing.scripted import Answer

from .scheduling import Clock, fire
from .support import BRISK, Traces, agent, calling, events, place, running, said, until


async def test_a_session_that_works_and_has_more_to_do_can_be_deleted(tmp_path: Path) -> None:
    traces = Traces()
    async with running(tmp_path, agent([calling("safe"), "done"], traces.tools())) as runtime:
        for _ in range(5):
            traces.started.clear()
            session = await runtime.session("a")
            await session.send("first")
            await session.send("second")
            await traces.started.wait()
            await session.delete()
            with pytest.raises(NotFound):
                await runtime.sessions.get(session.id)
            assert not (tmp_path / "workspaces" / session.id).exists()


async def test_a_session_that_is_deleted_twice_at_once_leaves_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["done"])) as runtime:
        session = await runtime.session("a")
        await session.ask("hi")
        folder = tmp_path / "workspaces" / session.id
        folder.mkdir(parents=True, exist_ok=True)
        ends = await asyncio.gather(*(session.delete() for _ in range(3)), return_exceptions=True)
        assert sorted(str(type(end)) for end in ends) == sorted(map(str, (type(None), NotFound, NotFound)))
        assert not folder.exists()
        assert not runtime.node.resources.thrown_away()


async def test_a_session_of_another_node_keeps_its_files_when_it_cannot_be_deleted(tmp_path: Path) -> None:
    traces = Traces()
    maker = agent([calling("safe"), "done"], traces.tools())
    async with running(tmp_path, maker) as runtime:
        session = await runtime.session("a")
        asking = asyncio.create_task(session.ask("hi"))
        await traces.started.wait()
        folder = tmp_path / "workspaces" / session.id
        folder.mkdir(parents=True)
        inode = folder.stat().st_ino
        seen: list[bool] = []

        async def look() -> None:
            while True:
                seen.append(folder.exists())
                await asyncio.sleep(0)

        looking = asyncio.create_task(look())
        async with running(tmp_path, maker) as other:
            with pytest.raises(Conflict):
                await other.sessions.delete(session.id)
        looking.cancel()
        assert all(seen)
        assert folder.stat().st_ino == inode
        traces.gate.set()
        assert await asking == "done"


async def test_a_node_that_takes_up_its_own_lost_session_goes_on_with_it(tmp_path: Path) -> None:
    traces = Traces()
    async with running(tmp_path, agent([calling("safe"), "done"], traces.tools()), config=BRISK) as runtime:
        session = await runtime.session("a")
        asking = asyncio.create_task(session.ask("hi"))
        await traces.started.wait()
        await runtime.node.store.dispatch.leave(runtime.node.id)  # as another node does that believes this one dead
        await asyncio.sleep(0.5)
        traces.gate.set()
        assert await asyncio.wait_for(asking, 30) == "done"


async def test_an_input_of_another_process_is_not_hidden_by_a_later_one(tmp_path: Path) -> None:
    traces = Traces()
    async with running(tmp_path, agent([calling("safe"), "done"], traces.tools())) as runtime:
        session = await runtime.session("a")
        await session.send("hi")
        await traces.started.wait()
        other = await place.open(tmp_path)
        for _ in range(3):
            await other.inboxes.accept(session.id, MessageInput((Text("from elsewhere"),)))
        await other.inboxes.accept(session.id, ControlInput("cancel"))
        await session.send("from here")
        completed = await until(session, ev.TurnCompleted)
        assert completed.outcome == "cancelled"
        traces.gate.set()
        await other.close()


async def test_events_of_a_program_and_timers_are_taken_in_between_steps(tmp_path: Path) -> None:
    traces = Traces()
    answers = [calling("safe"), Answer(text="slow", delay=600.0)]
    async with running(tmp_path, agent(answers, traces.tools())) as runtime:
        session = await runtime.session("a")
        await session.send("hi")
        await traces.started.wait()
        await session.bus.emit("mine")
        await runtime.sessions.set_timer(session.id, "t", time.time() + 3600, "later")
        traces.gate.set()
        await until(session, ev.Emitted)
        await until(session, ev.TimerSet)


async def test_an_answer_is_not_waited_for_when_the_session_halts(tmp_path: Path) -> None:
    traces = Traces()
    async with running(tmp_path, agent([calling("safe"), "done", "done"], traces.tools())) as runtime:
        session = await runtime.session("a")
        first = asyncio.create_task(session.ask("first"))
        await traces.started.wait()
        second = asyncio.create_task(session.ask("second"))
        while (await runtime.sessions.get(session.id)).pending == 0:
            await asyncio.sleep(0.01)
        await session.control("stop")
        for asking in (first, second):
            with pytest.raises(TurnFailed):
                await asyncio.wait_for(asking, 30)


async def test_a_steering_message_has_an_answer_too(tmp_path: Path) -> None:
    traces = Traces()
    async with running(tmp_path, agent([calling("safe"), "done"], traces.tools())) as runtime:
        session = await runtime.session("a")
        await session.send("hi")
        await traces.started.wait()
        steer = await session.send("rather this", mode="steer")
        traces.gate.set()
        assert await asyncio.wait_for(session.answer(steer.id), 30) == "done"


@pytest.mark.parametrize("moved", [False, True])
async def test_a_timer_that_was_cleared_or_moved_in_time_says_nothing(tmp_path: Path, moved: bool) -> None:
    traces, clock = Traces(), Clock()
    crew = agent([calling("safe"), "done"], traces.tools())
    async with running(tmp_path, crew, config=clock.config) as runtime:
        session = await runtime.session("a")
        due = clock() + 60
        await runtime.sessions.set_timer(session.id, "t", due, "wake up")
        await until(session, ev.TimerSet)
        await session.send("hi")
        await traces.started.wait()
        if moved:
            await runtime.sessions.set_timer(session.id, "t", due + 3600, "wake up")
        else:
            await runtime.sessions.clear_timer(session.id, "t")
        clock.go_to(due + 1)
        await fire(runtime, clock)
        assert (await runtime.sessions.get(session.id)).pending == 2
        traces.gate.set()
        await until(session, ev.TurnCompleted)
        assert await session.ask("and now?") == "done"
        log = await events(session, runtime)
        assert said(log) == ["hi", "and now?"]
        assert (await session.inspect()).timers.keys() == ({"t"} if moved else set())


async def test_a_handler_hears_of_what_comes_right_after_it_was_set(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["done"])) as runtime:
        session = await runtime.session("a")
        for _ in range(40):
            await session.bus.emit("filler", "x" * 100_000)
        await until(session, ev.Emitted)
        heard: list[str] = []
        reading = [asyncio.create_task(runtime.sessions.history(session.id)) for _ in range(400)]
        await asyncio.sleep(0)
        session.bus.on(ev.InputReceived, lambda event: heard.append("input"))
        waiting = asyncio.create_task(session.bus.wait_for(ev.TurnStarted, timeout=30))
        await session.send("hi")
        await waiting
        await asyncio.gather(*reading)
        await until(session, ev.TurnCompleted)
        assert heard == ["input"]
        await session.bus.close()
