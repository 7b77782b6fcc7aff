"""Hooks at the beginning and the end of a session: each is asked at least once, whatever dies in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roost.agent.definition import Agent, Children
from roost.errors import NotFound
from roost.features.hooks.events import PolicyDecided
from roost.log import events as ev
from roost.log.inputs import ControlInput
from roost.policy.hooks import Answer as Said
from roost.policy.hooks import Moment, PythonHook
from roost.runtime import TurnFailed
from roost.testing.scripted import Call, ScriptedModel, by_step

from .support import Answer, events, kinds, running, so, until

pytestmark = pytest.mark.one_on_postgres

ENDS = ("session_start", "session_end")
Told = list[tuple[str, str, str | None]]


def told(heard: Told, answer: Callable[[Moment], Any] = lambda _: None) -> PythonHook:
    async def judge(moment: Moment) -> Any:
        heard.append((moment.on.removeprefix("session_"), moment.session, moment.outcome))
        said = answer(moment)
        return await said if asyncio.iscoroutine(said) else said

    return PythonHook(judge, on=ENDS, name="ends", seconds=60)


def clerk(*hooks: PythonHook, name: str = "a", **more: Any) -> Agent:
    more.setdefault("model", ScriptedModel(by_step(["fine"])))
    return Agent(name, hooks=hooks, permissions="all", **more)


async def test_a_session_begins_once_and_ends_when_it_is_stopped_or_deleted(tmp_path: Path) -> None:
    heard: Told = []
    async with running(tmp_path, clerk(told(heard))) as runtime:
        session = await runtime.session("a", id="one")
        for text in ("hello", "again"):
            await session.ask(text)
        assert heard == [("start", "one", "created")]
        await session.control("stop")
        assert heard[1:] == [("end", "one", "stopped")]
        log = await events(session, runtime)
        decided = [event for event in log if isinstance(event, PolicyDecided)]
        assert [(event.by, event.on) for event in decided] == [("hook:ends", on) for on in ENDS]
        applied = next(event for event in log if isinstance(event, ev.ControlApplied))
        assert log.index(decided[1]) < log.index(applied)
        await session.control("start")
        await session.ask("more")
        await session.delete()
        assert heard[2:] == [("end", "one", "deleted")]
        for id in ("one", "two"):
            await (await runtime.session("a", id=id)).control("stop")
        await runtime.open("two").delete()
        assert len(heard) == 3, "they had not begun"


async def test_a_message_during_a_hook_asks_it_no_second_time(tmp_path: Path) -> None:
    heard: Told = []
    judged = asyncio.Event()

    async def wait(_: Moment) -> None:
        await judged.wait()

    async with running(tmp_path, clerk(told(heard, wait))) as runtime:
        session = await runtime.session("a", id="one")
        asked = asyncio.create_task(session.ask("hello"))
        await so(lambda: heard)
        await session.send("and quickly", mode="steer")
        judged.set()
        await asked
        assert heard == [("start", "one", "created")]


async def test_what_was_stopped_ends_no_second_time_when_it_is_deleted(tmp_path: Path) -> None:
    heard: Told = []
    async with running(tmp_path, clerk(told(heard, lambda _: False if heard[1:] else None))) as runtime:
        session = await runtime.session("a", id="one")
        await session.ask("hello")
        await session.control("stop")
        assert (await session.inspect()).info.state == "stopped", "no hook keeps it from that"
        await session.delete()
        assert heard == [("start", "one", "created"), ("end", "one", "stopped")]
        with pytest.raises(NotFound):
            await session.inspect()


async def test_all_are_told_of_an_end_whatever_one_of_them_says(tmp_path: Path) -> None:
    heard: Told = []
    broken = PythonHook(lambda _: False, on=["session_end"], name="broken")
    async with running(tmp_path, clerk(broken, told(heard))) as runtime:
        session = await runtime.session("a", id="one")
        await session.ask("hello")
        await session.control("stop")
        await session.control("start")
        await session.delete()
        assert heard == [("start", "one", "created"), ("end", "one", "stopped"), ("end", "one", "deleted")]


async def test_one_that_nobody_uses_any_more_ends_when_it_is_stopped_for_that(tmp_path: Path) -> None:
    heard: Told = []
    async with running(tmp_path, clerk(told(heard))) as runtime:
        session = await runtime.session("a", id="one")
        await session.ask("hello")
        for timer in (True, False):
            if timer:
                await runtime.sessions.set_timer("one", "later", 4e9, "x")
            else:
                await runtime.sessions.clear_timer("one", "later")
            head = (await session.inspect()).info.head
            await runtime.sessions.put("one", ControlInput("stop", "unused"))
            await until(session, ev.ControlApplied, after=head)
            assert heard[1:] == ([] if timer else [("end", "one", "stopped")])


async def test_a_session_that_may_not_begin_is_asked_about_again(tmp_path: Path) -> None:
    heard: Told = []
    model = ScriptedModel(by_step(["fine"]))
    closed = told(heard, lambda _: Said(decision="deny", reason="closed today") if len(heard) < 3 else None)
    async with running(tmp_path, clerk(closed, model=model)) as runtime:
        session = await runtime.session("a", id="one")
        for _ in range(2):
            with pytest.raises(TurnFailed, match="closed today"):
                await session.ask("go")
        assert model.calls == 0
        assert await session.ask("go") == "fine"
        assert heard == [("start", "one", "created")] * 3


async def test_a_fork_and_an_import_begin_once_too(tmp_path: Path) -> None:
    heard: Told = []
    async with running(tmp_path, clerk(told(heard))) as runtime:
        session = await runtime.session("a", id="one")
        await session.ask("hello")
        await runtime.exchange.write("one", tmp_path / "one.jsonl")
        await runtime.checkpoints.fork("one", id="two")
        await runtime.exchange.read(tmp_path / "one.jsonl", id="three", agent="a")
        for id in ("two", "three"):
            for text in ("hello", "again"):
                await runtime.open(id).ask(text)
            await runtime.open(id).control("stop")
        await runtime.checkpoints.fork("one", id="four")
        await runtime.open("four").control("stop")
        assert heard == [
            ("start", "one", "created"),
            ("start", "two", "forked"),
            ("end", "two", "stopped"),
            ("start", "three", "imported"),
            ("end", "three", "stopped"),
        ]


async def test_a_child_ends_with_its_task(tmp_path: Path) -> None:
    heard: Told = []
    calls = Answer(calls=(Call("task", {"agent": "b", "prompt": "do it"}),))
    boss = clerk(model=ScriptedModel(by_step([calls, "done"])), tools=["task"], children=Children(agents=("b",)))
    helper = clerk(told(heard), name="b", callable_by=("a",))
    async with running(tmp_path, boss, helper) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go") == "done"
        child = heard[0][1]
        assert heard == [("start", child, "created"), ("end", child, "answered")]
        log = kinds(await events(runtime.open(child), runtime))
        assert log[-2:] == ["policy.decided", "turn.completed"], "told before it is over"
        await session.delete()
        assert heard[2][:2] == ("end", child)
        assert {outcome for *_, outcome in heard[2:]} <= {"stopped", "deleted"}


@pytest.mark.parametrize("on", ["session_start", "stopped", "answered"])
async def test_who_was_not_told_to_the_end_is_told_again(tmp_path: Path, on: str) -> None:
    """A node that ends in the middle of a hook."""
    heard: Told = []
    reached = asyncio.Event()

    async def hang() -> None:
        reached.set()
        await asyncio.sleep(60)

    def first(moment: Moment) -> Any:
        return hang() if on in (moment.on, moment.outcome) and not reached.is_set() else None

    calls = Answer(calls=(Call("task", {"agent": "b", "prompt": "do it"}),))
    boss = clerk(model=ScriptedModel(by_step([calls, "done"])), tools=["task"], children=Children(agents=("b",)))
    agents = (boss, clerk(told(heard, first), name="b", callable_by=("a",)))
    async with running(tmp_path, *agents) as runtime:
        session = await runtime.session("a" if on == "answered" else "b", id="one")
        await session.send("go")
        if on == "stopped":
            await until(session, ev.TurnCompleted)
            await runtime.sessions.control("one", "stop", wait=0)
        await reached.wait()
        before = len(heard)
    async with running(tmp_path, *agents) as runtime:
        session = runtime.open("one")
        if on == "stopped":
            await until(session, ev.ControlApplied)
        else:
            await until(session, ev.TurnCompleted)
        assert heard[before:] == [heard[before - 1]]


async def test_who_was_not_told_of_a_deletion_to_the_end_is_told_again(tmp_path: Path) -> None:
    heard: Told = []
    reached = asyncio.Event()

    async def hang() -> None:
        reached.set()
        await asyncio.sleep(60)

    def first(moment: Moment) -> Any:
        return hang() if moment.outcome == "deleted" and not reached.is_set() else None

    async with running(tmp_path, clerk(told(heard, first))) as runtime:
        session = await runtime.session("a", id="one")
        await session.ask("hello")
        deleting = asyncio.create_task(session.delete())
        await reached.wait()
        deleting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deleting
    async with running(tmp_path, clerk(told(heard, first))) as runtime:
        assert await runtime.open("one").ask("still there?") == "fine"
        await runtime.open("one").delete()
    assert heard == [("start", "one", "created"), ("end", "one", "deleted"), ("end", "one", "deleted")]
