"""Sessions that nobody uses are stopped and deleted by themselves; those in use are not."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import pytest

from roost.agent.definition import Agent, Children
from roost.errors import Invalid
from roost.features.delegation.events import ChildStarted
from roost.features.jobs.events import JobEnded
from roost.kernel.config import KernelConfig
from roost.kernel.duties import cleanup_pause
from roost.log import events as ev
from roost.log.content import ToolMessage, UserMessage
from roost.log.inputs import ControlInput
from roost.log.protocols import SessionQuery
from roost.models.request import Request
from roost.runtime import Runtime, SessionHandle
from roost.testing.clock import MovedClock
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

from .support import FAST, Traces, agent, asleep, calling, events, kinds, running, until

QUICK = msgspec.structs.replace(FAST, session_timeout=0.3, cleanup_every=0.1)


def family(traces: Traces, **more: object) -> tuple[Agent, Agent]:
    """One that gives a task, and one that takes it and holds whenever it is told to."""
    call = Call("task", {"agent": "child", "prompt": "do it", **more})

    def answer(request: Request) -> Answer:
        if isinstance(request.messages[-1], ToolMessage):
            return Answer(text="begun")
        first = sum(isinstance(one, UserMessage) for one in request.messages) == 1
        return Answer(calls=(call,)) if first else Answer(text="heard")

    parent = Agent(
        "parent", model=ScriptedModel(answer), tools=["task"], permissions="all", children=Children(agents=("*",))
    )  # fmt: skip
    taken = ScriptedModel(by_step([calling("safe"), "child said"]))
    child = Agent("child", model=taken, tools=traces.tools(), permissions="all", callable_by=("*",))
    return parent, child


async def child_of(runtime: Runtime, session: SessionHandle) -> SessionHandle:
    return runtime.open((await until(session, ChildStarted)).child)


async def becomes(runtime: Runtime, session: SessionHandle, state: str) -> None:
    async with asyncio.timeout(30):
        while (await runtime.sessions.get(session.id)).state != state:
            await asyncio.sleep(0.02)


async def test_who_has_a_task_in_the_background_is_in_use(tmp_path: Path, clock: MovedClock) -> None:
    traces = Traces()
    async with running(tmp_path, *family(traces, background=True), config=QUICK) as runtime:
        session, unused = await runtime.session("parent"), await runtime.session("parent")
        assert await session.ask("go") == "begun"
        await becomes(runtime, unused, "stopped")
        await clock.sleep(0.7)
        assert (await runtime.sessions.get(session.id)).state == "running"
        traces.gate.set()
        await becomes(runtime, session, "stopped")
        turns = [event.outcome for event in await events(session, runtime) if isinstance(event, ev.TurnCompleted)]
        assert turns == ["answered", "answered"]


async def test_who_has_set_a_timer_is_in_use(tmp_path: Path, clock: MovedClock) -> None:
    async with running(tmp_path, agent(["awake"]), config=QUICK) as runtime:
        session, unused = await runtime.session("a"), await runtime.session("a")
        await runtime.sessions.set_timer(session.id, "later", time.time() + 1.5, "wake up")
        await becomes(runtime, unused, "stopped")
        assert (await clock.hurry(until(session, ev.TurnCompleted))).outcome == "answered"
        await becomes(runtime, session, "stopped")


async def test_who_has_a_command_in_the_background_is_in_use(tmp_path: Path) -> None:
    """Also for an order that comes at once."""
    clerk = agent([calling("shell_start", command="sleep 1.5"), "on"], ["shell_start"])
    async with running(tmp_path, clerk, config=QUICK) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go") == "on"
        await runtime.sessions.put(session.id, ControlInput("stop", "unused"))
        assert (await until(session, JobEnded)).outcome == "exited"


async def test_an_order_to_stop_that_comes_late_means_nothing(tmp_path: Path) -> None:
    """Between the look at the session and the order somebody may have begun to use it."""
    traces = Traces()
    async with running(tmp_path, agent([calling("never"), "done"], traces.tools())) as runtime:
        session = await runtime.session("a")
        item = await session.send("go")
        await asyncio.wait_for(traces.started.wait(), 30)
        await runtime.sessions.put(session.id, ControlInput("stop", "unused"))
        await asyncio.sleep(0.3)
        assert traces.cut == []
        traces.gate.set()
        assert await session.answer(item.id) == "done"
        async with asyncio.timeout(30):
            while "control.applied" not in kinds(await events(session, runtime)):
                await asyncio.sleep(0.02)
        assert (await runtime.sessions.get(session.id)).state == "running"


async def test_what_is_not_used_is_stopped_alone(tmp_path: Path, clock: MovedClock) -> None:
    """A child whose task is over and that somebody goes on with stays."""
    traces = Traces()
    traces.gate.set()
    async with running(tmp_path, *family(traces), config=QUICK) as runtime:
        session = await runtime.session("parent")
        assert await session.ask("go") == "begun"
        child = await child_of(runtime, session)
        traces.gate.clear()
        item = await child.send("once more")
        await becomes(runtime, session, "stopped")
        await clock.sleep(0.3)
        assert (traces.began, traces.cut) == (["safe", "safe"], [])
        traces.gate.set()
        assert await child.answer(item.id) == "child said"


async def test_who_has_made_a_session_that_is_in_use_is_not_deleted(tmp_path: Path, clock: MovedClock) -> None:
    traces = Traces()
    traces.gate.set()
    config = msgspec.structs.replace(QUICK, session_timeout=None, retention=0.3)
    async with running(tmp_path, *family(traces), config=config) as runtime:
        session, other = await runtime.session("parent"), await runtime.session("parent")
        assert await session.ask("go") == "begun"
        child = await child_of(runtime, session)
        await session.control("stop")
        await becomes(runtime, child, "stopped")
        await child.control("start")
        traces.gate.clear()
        traces.started.clear()
        item = await child.send("once more")
        await asyncio.wait_for(traces.started.wait(), 30)
        await other.control("stop")
        async with asyncio.timeout(30):
            while other.id in await ids(runtime):
                await asyncio.sleep(0.02)
        await clock.sleep(0.5)
        assert await ids(runtime) == {session.id, child.id}
        traces.gate.set()
        assert await child.answer(item.id) == "child said"
        await asleep(runtime, child)
        await child.control("stop")
        async with asyncio.timeout(30):
            while await ids(runtime):
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("name", ["approval:call_1", "child:ses_1", "job:1", "memory:consolidation", "schedule:daily"])
async def test_timers_of_roost_s_own_are_not_for_others(tmp_path: Path, name: str) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        session = await runtime.session("a")
        with pytest.raises(Invalid, match="name yours otherwise"):
            await runtime.sessions.set_timer(session.id, name, time.time() + 60, "x")
        with pytest.raises(Invalid, match="name yours otherwise"):
            await runtime.sessions.clear_timer(session.id, name)
        assert await runtime.node.store.inboxes.pending(session.id) == []


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("config", "seconds"),
    [
        (KernelConfig(), 60),
        (KernelConfig(cleanup_every=3600), 3600),
        (KernelConfig(cleanup_every=3600, session_timeout=900, retention=86_400), 900),
        (KernelConfig(cleanup_every=3600, retention=120), 120),
    ],
)
def test_how_long_it_is_between_two_looks(config: KernelConfig, seconds: float) -> None:
    assert cleanup_pause(config) == seconds


async def ids(runtime: Runtime) -> set[str]:
    return {info.id for info in await runtime.sessions.find(SessionQuery())}
