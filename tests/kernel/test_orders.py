"""Orders reach all that has come from a session, also below those whose task is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from roost.agent.definition import Agent, Children
from roost.features.delegation.events import ChildEnded, ChildStarted
from roost.features.jobs.events import JobEnded
from roost.log import events as ev
from roost.log.content import Text, ToolMessage, UserMessage
from roost.log.session_info import ControlAction
from roost.models.request import Request
from roost.runtime import Runtime, SessionHandle
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

from .support import Traces, calling, events, running, until

ALL = Children(agents=("*",))


def giving(name: str, to: str, *, after: float = 0.0, **more: Any) -> Agent:
    """Gives every message on as a task, and says no more than that it did, `after` so many seconds."""

    def answer(request: Request) -> Answer:
        if isinstance(request.messages[-1], ToolMessage):
            return Answer(text=f"{to} has it", delay=after)
        last = next(one for one in reversed(request.messages) if isinstance(one, UserMessage))
        if any(isinstance(part, Text) and part.text.startswith("[") for part in last.parts):
            return Answer(text="I see")
        return Answer(calls=(Call("task", {"agent": to, "prompt": "go on", **more}),))

    tools = ("task", "cancel_task")
    return Agent(
        name, model=ScriptedModel(answer), tools=tools, permissions="all", children=ALL, callable_by=("*",)
    )  # fmt: skip


@asynccontextmanager
async def three(home: Path, traces: Traces, top: Agent, middle: Agent) -> AsyncGenerator[Runtime]:
    """With a leaf that holds."""
    model = ScriptedModel(by_step([calling("safe"), "leaf said"]))
    leaf = Agent("leaf", model=model, tools=traces.tools(), permissions="all", callable_by=("*",))
    async with running(home, top, middle, leaf) as runtime:
        yield runtime


async def below(runtime: Runtime, session: SessionHandle) -> dict[str, tuple[str, str]]:
    return {info.agent: (info.state, info.phase) for info in (await runtime.delegation.tree(session.id)).sessions}


async def becomes(runtime: Runtime, session: SessionHandle, agent: str, wanted: tuple[str, str]) -> None:
    async with asyncio.timeout(30):
        while (await below(runtime, session)).get(agent) != wanted:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("action", ["stop", "pause"])
async def test_what_a_child_that_has_ended_has_begun_hears_of_it(tmp_path: Path, action: ControlAction) -> None:
    traces = Traces()
    top, middle = giving("top", "middle"), giving("middle", "leaf", background=True)
    async with three(tmp_path, traces, top, middle) as runtime:
        session = await runtime.session("top")
        assert await session.ask("go") == "middle has it"
        await asyncio.wait_for(traces.started.wait(), 30)
        await session.control(action)
        state = "stopped" if action == "stop" else "paused"
        await becomes(runtime, session, "leaf", (state, "idle" if action == "stop" else "working"))
        assert (await below(runtime, session))["middle"] == (state, "idle")
        assert traces.cut == ["safe"]
        traces.gate.set()
        if action == "pause":
            await session.control("resume")
            await becomes(runtime, session, "leaf", ("running", "idle"))
            assert traces.done == ["safe"]
            assert (await below(runtime, session))["middle"][0] == "running"
        else:
            middle_log = await log_of(runtime, session, "middle")
            assert [event.outcome for event in middle_log if isinstance(event, ChildEnded)] == ["stopped"]
            assert sum(isinstance(event, ev.TurnStarted) for event in middle_log) == 1
            assert traces.done == []


async def test_a_task_whose_time_is_up_is_given_up_with_all_that_it_has_begun(tmp_path: Path) -> None:
    """Its own background tasks too: nobody would hear of them."""
    traces = Traces()
    top, middle = giving("top", "middle", deadline=1.0), giving("middle", "leaf", background=True, after=30.0)
    async with three(tmp_path, traces, top, middle) as runtime:
        session = await runtime.session("top")
        assert await session.ask("go") == "middle has it"
        await becomes(runtime, session, "leaf", ("running", "idle"))
        assert traces.cut == ["safe"]
        middle_log = await log_of(runtime, session, "middle")
        assert [event.outcome for event in middle_log if isinstance(event, ChildEnded)] == ["cancelled"]
        assert [event.outcome for event in middle_log if isinstance(event, ev.TurnCompleted)] == ["cancelled"]


async def test_a_task_that_is_given_up_ends_its_commands_in_the_background(tmp_path: Path) -> None:
    steps = [calling("shell_start", command="sleep 60"), Answer(text="started", delay=30.0)]
    middle = Agent(
        "middle", model=ScriptedModel(by_step(steps)), tools=["shell_start"], permissions="all", callable_by=("*",)
    )  # fmt: skip
    async with running(tmp_path, giving("top", "middle", deadline=2.5), middle) as runtime:
        session = await runtime.session("top")
        assert await session.ask("go") == "middle has it"
        await becomes(runtime, session, "middle", ("running", "idle"))
        log = await log_of(runtime, session, "middle")
    assert [event.outcome for event in log if isinstance(event, JobEnded)] == ["stopped"]
    assert [event.outcome for event in log if isinstance(event, ev.TurnCompleted)] == ["cancelled"]


async def test_a_person_s_cancel_leaves_tasks_in_the_background_alone(tmp_path: Path) -> None:
    traces = Traces()
    top, middle = giving("top", "middle"), giving("middle", "leaf", background=True, after=30.0)
    async with three(tmp_path, traces, top, middle) as runtime:
        session = await runtime.session("middle")
        await session.send("go")
        await asyncio.wait_for(traces.started.wait(), 30)
        await session.control("cancel")
        assert (await below(runtime, session))["leaf"] == ("running", "working")
        traces.gate.set()
        assert (await until(session, ChildEnded)).outcome == "answered"


async def test_a_child_that_is_stopped_at_work_ends_as_stopped(tmp_path: Path) -> None:
    traces = Traces()
    top, middle = giving("top", "leaf"), giving("middle", "leaf")
    async with three(tmp_path, traces, top, middle) as runtime:
        session = await runtime.session("top")
        item = await session.send("go")
        started = await until(session, ChildStarted)
        await asyncio.wait_for(traces.started.wait(), 30)
        await runtime.sessions.control(started.child, "stop")
        assert await session.answer(item.id) == "leaf has it"
        assert (await until(session, ChildEnded)).outcome == "stopped"


async def log_of(runtime: Runtime, session: SessionHandle, agent: str) -> list[ev.Event]:
    infos = (await runtime.delegation.tree(session.id)).sessions
    return await events(runtime.open(next(info.id for info in infos if info.agent == agent)), runtime)
