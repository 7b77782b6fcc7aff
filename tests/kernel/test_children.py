"""Tasks for other agents: begun, awaited, given up, and never forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest

from roost.agent.definition import Agent, Children, Limits
from roost.features.delegation.events import ChildEnded, ChildStarted, ChildWaits
from roost.kernel.config import KernelConfig
from roost.kernel.lineage import below
from roost.log import events as ev
from roost.log.content import ErrorData, Text, ToolMessage, UserMessage
from roost.log.protocols import NewSession, SessionQuery
from roost.log.session_info import SessionInfo
from roost.models.request import ModelEvent, Price, Profile, Request
from roost.policy.hooks import Answer as HookAnswer
from roost.policy.hooks import Moment, PythonHook
from roost.runtime import Runtime, SessionHandle
from roost.sandbox.choose import Isolation
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step
from roost.tools.base import Tool
from roost.tools.function import tool

from .support import FAST, asleep, events, kinds, place, running, said, until

ALL = Children(agents=("*",))


async def tree(runtime: Runtime, session: str) -> list[SessionInfo]:
    return (await runtime.delegation.tree(session)).sessions


def task(agent: str, prompt: str = "do it", **more: Any) -> Call:
    return Call("task", {"agent": agent, "prompt": prompt, **more})


def boss(*answers: Answer | str, children: Children | None = ALL, **more: Any) -> Agent:
    """Has tasks for others."""
    tools = ["task", "list_agents", "message_agent", *more.pop("tools", ())]
    more = {"permissions": "all", **more}
    return Agent("boss", model=ScriptedModel(by_step(answers)), tools=tools, children=children, **more)


def helper(*answers: Answer | str, name: str = "helper", tools: tuple[Tool | str, ...] = (), **more: Any) -> Agent:
    more = {"permissions": "all", "callable_by": ("boss",), **more}
    return Agent(name, model=ScriptedModel(by_step(answers or ("helped",))), tools=tools, **more)


def echo(name: str = "helper", delay: Callable[[str], float] = lambda _: 0.0, at_once: int = 1, **more: Any) -> Agent:
    """Answers what it was told, when so many are asked at once."""

    def answer(request: Request) -> Answer:
        last = next(one for one in reversed(request.messages) if isinstance(one, UserMessage))
        text = "".join(part.text for part in last.parts if isinstance(part, Text))
        return Answer(text=f"did {text}", delay=delay(text))

    more = {"callable_by": ("*",), **more}
    return Agent(name, model=Together(answer, at_once), permissions="all", **more)


class Together(ScriptedModel):
    def __init__(self, answer: Callable[[Request], Answer], count: int) -> None:
        super().__init__(answer)
        self._all = asyncio.Barrier(count)

    async def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        await self._all.wait()
        async for event in super().stream(request):
            yield event


def results(request: Request) -> list[str]:
    """What the tools said last."""
    found: list[str] = []
    for message in reversed(request.messages):
        if not isinstance(message, ToolMessage):
            break
        found.append("".join(part.text for part in message.parts if isinstance(part, Text)))
    return found[::-1]


def seen(agent: Agent) -> list[str]:
    model = agent.python.model
    assert isinstance(model, ScriptedModel)
    return results(model.requests[-1])


async def ended(log: list[ev.Event]) -> list[str]:
    return [event.outcome for event in log if isinstance(event, ChildEnded)]


async def child_of(runtime: Runtime, session: SessionHandle) -> SessionHandle:
    started = await until(session, ChildStarted)
    return runtime.open(started.child)


async def test_a_task_is_another_session_s(tmp_path: Path) -> None:
    parent = boss(Answer(calls=(task("helper", "count the birds"),)), "all done")
    async with running(tmp_path, parent, echo()) as runtime:
        session = await runtime.session("boss", labels={"user": "ann"})
        assert await session.ask("go") == "all done"
        assert seen(parent) == ["did count the birds"]
        log = await events(session, runtime)
        started = next(event for event in log if isinstance(event, ChildStarted))
        assert kinds(log).count("child.ended") == 1
        info = await runtime.sessions.get(started.child)
        assert (info.parent, info.agent, info.labels, info.title) == (
            session.id,
            "helper",
            {"user": "ann"},
            "count the birds",
        )
        child = await events(runtime.open(started.child), runtime)
        assert said(child) == ["count the birds"]
        assert [one.id for one in await below(runtime.node.store, session.id)] == [info.id]


async def test_tasks_of_one_answer_run_together_and_stay_in_order(tmp_path: Path) -> None:
    calls = tuple(task("helper", f"{place}") for place in range(6))
    parent = boss(Answer(calls=calls), "done")
    together = echo(delay=lambda text: 0.3 - 0.04 * int(text), at_once=6)
    async with running(tmp_path, parent, together) as runtime:
        session = await runtime.session("boss")
        assert await asyncio.wait_for(session.ask("go"), 30) == "done"
        assert seen(parent) == [f"did {place}" for place in range(6)]


async def test_a_parent_sleeps_while_its_child_works(tmp_path: Path) -> None:
    parent = boss(Answer(calls=(task("helper", "x"),)), "done")
    async with running(tmp_path, parent, echo(delay=lambda _: 1.0)) as runtime:
        session = await runtime.session("boss")
        item = await session.send("go")
        await until(session, ChildStarted)
        await asleep(runtime, session)
        info = await runtime.sessions.get(session.id)
        assert (info.phase, info.state) == ("waiting", "running")
        assert await session.answer(item.id) == "done"


async def test_no_more_at_once_than_may_be(tmp_path: Path) -> None:
    calls = tuple(task("helper", f"{place}") for place in range(7))
    parent = boss(Answer(calls=calls), "done", children=Children(agents=("helper",), at_once=2, breadth=5))
    async with running(tmp_path, parent, echo(delay=lambda _: 0.05)) as runtime:
        session = await runtime.session("boss")
        assert await session.ask("go") == "done"
        log = await events(session, runtime)
    now, most = 0, 0
    for event in log:
        now += isinstance(event, ChildStarted) - isinstance(event, ChildEnded)
        most = max(most, now)
    assert most == 2
    assert kinds(log).count("child.started") == 5
    assert kinds(log).count("child.held") == 3
    assert seen(parent)[:5] == [f"did {place}" for place in range(5)]
    assert all("5 children at most" in text for text in seen(parent)[5:])


async def test_in_the_background(tmp_path: Path) -> None:
    """The call ends at once; the answer comes as a message of its own, and begins a turn."""
    answers = [Answer(calls=(task("helper", "x", background=True),)), "begun"]

    def say(request: Request) -> Answer | str:
        last = next(one for one in reversed(request.messages) if isinstance(one, UserMessage))
        text = "".join(part.text for part in last.parts if isinstance(part, Text))
        return f"heard: {text}" if "did x" in text else by_step(answers)(request)

    parent = Agent("boss", model=ScriptedModel(say), tools=["task"], children=ALL, permissions="all")
    async with running(tmp_path, parent, echo(delay=lambda _: 0.3)) as runtime:
        session = await runtime.session("boss")
        assert await session.ask("go") == "begun"
        await until(session, ev.TurnCompleted, after=(await runtime.sessions.get(session.id)).head)
        log = await events(session, runtime)
        child = await child_of(runtime, session)
        received = [event for event in log if isinstance(event, ev.InputReceived)]
        assert received[-1].source == f"child:{child.id}"
        assert await ended(log) == ["answered"]
        view = await session.inspect()
        assert view.turns == 2


@pytest.mark.parametrize(
    ("agent", "outcome", "said_of"),
    [
        (helper(Answer(error=ErrorData("broken", "no luck"))), "failed", "no luck"),
        (helper(Answer(calls=(Call("nothing"),)), limits=Limits(steps=1)), "limit", "steps"),
    ],
    ids=["failed", "limit"],
)
async def test_a_task_that_comes_to_nothing(tmp_path: Path, agent: Agent, outcome: str, said_of: str) -> None:
    parent = boss(Answer(calls=(task("helper"),)), "so it goes")
    async with running(tmp_path, parent, agent) as runtime:
        session = await runtime.session("boss")
        assert await session.ask("go") == "so it goes"
        assert await ended(await events(session, runtime)) == [outcome]
        assert outcome in seen(parent)[0]
        assert said_of in seen(parent)[0]


@pytest.mark.parametrize("what", ["cancel", "stop", "delete"])
async def test_a_child_that_somebody_ends(tmp_path: Path, what: str) -> None:
    parent = boss(Answer(calls=(task("helper"),)), "so it goes")
    async with running(tmp_path, parent, echo(delay=lambda _: 30.0)) as runtime:
        session = await runtime.session("boss")
        item = await session.send("go")
        child = await child_of(runtime, session)
        await until(child, ev.ModelStarted)
        if what == "delete":
            await child.delete()
        else:
            await child.control("cancel" if what == "cancel" else "stop")
        assert await session.answer(item.id) == "so it goes"
        [outcome] = await ended(await events(session, runtime))
        assert outcome == {"cancel": "cancelled", "stop": "stopped", "delete": "deleted"}[what]


async def test_a_task_whose_time_is_up(tmp_path: Path) -> None:
    parent = boss(Answer(calls=(task("helper", deadline=0.4),)), "so it goes")
    async with running(tmp_path, parent, echo(delay=lambda _: 30.0)) as runtime:
        session = await runtime.session("boss")
        assert await session.ask("go") == "so it goes"
        assert "timeout" in seen(parent)[0]
        child = await child_of(runtime, session)
        end = await until(child, ev.TurnCompleted)
        assert end.outcome == "cancelled"
        assert (await session.inspect()).timers == {}


async def test_a_task_that_ends_in_time_leaves_no_timer(tmp_path: Path) -> None:
    parent = boss(Answer(calls=(task("helper", deadline=60),)), "done")
    async with running(tmp_path, parent, echo()) as runtime:
        session = await runtime.session("boss")
        assert await session.ask("go") == "done"
        assert (await session.inspect()).timers == {}


@pytest.mark.parametrize("order", ["cancel", "stop", "pause", "delete"])
async def test_orders_travel_down(tmp_path: Path, order: str) -> None:
    """To a grandchild, too."""
    middle = Agent(
        "middle",
        model=ScriptedModel(by_step([Answer(calls=(task("leaf"),)), "m"])),
        tools=["task"],
        children=ALL,
        callable_by=("boss",),
        permissions="all",
    )
    parent = boss(Answer(calls=(task("middle"),)), "done")
    async with running(tmp_path, parent, middle, echo("leaf", delay=lambda _: 1.0 if order == "pause" else 30.0)) as rt:
        session = await rt.session("boss")
        item = await session.send("go")
        child = await child_of(rt, session)
        leaf = await child_of(rt, child)
        await until(leaf, ev.ModelStarted)
        if order == "delete":
            await session.delete()
            assert await rt.sessions.find(_everything()) == []
            return
        await session.control("cancel" if order == "cancel" else "stop" if order == "stop" else "pause")
        if order == "pause":
            for one in (session, child, leaf):
                await _state(rt, one, "paused")
            await session.control("resume")
            assert await session.answer(item.id) == "done"
            return
        for one in (child, leaf):
            end = await until(one, ev.TurnCompleted)
            assert end.outcome == "cancelled"
            await _state(rt, one, "stopped" if order == "stop" else "running")
        assert await ended(await events(session, rt)) == ["cancelled"]


def _everything() -> Any:
    from roost.log.protocols import SessionQuery

    return SessionQuery()


async def _state(runtime: Runtime, session: SessionHandle, state: str) -> None:
    async with asyncio.timeout(30):
        while (await runtime.sessions.get(session.id)).state != state:
            await asyncio.sleep(0.02)


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    ("children", "callee", "why"),
    [
        (None, {}, "there is none"),
        (Children(agents=("other*",)), {}, "there is none"),
        (ALL, {"callable_by": ()}, "there is none"),
        (ALL, {"callable_by": ("bos",)}, "there is none"),
        (ALL, {"name": "elsewhere"}, "those are: elsewhere"),
        (Children(agents=("*",), depth=0), {}, "no children may be below"),
    ],
)
async def test_both_agents_must_want_it(
    tmp_path: Path, children: Children | None, callee: dict[str, Any], why: str
) -> None:
    parent = boss(Answer(calls=(task("helper"),)), "alone then", children=children)
    async with running(tmp_path, parent, echo(**callee)) as runtime:
        session = await runtime.session("boss")
        assert await session.ask("go") == "alone then"
        assert why in seen(parent)[0]
        log = await events(session, runtime)
        assert "child.started" not in kinds(log)
        denied = [event.why for event in log if isinstance(event, ev.ToolCompleted) and event.outcome == "denied"]
        assert all(str(one).startswith("agents:") for one in denied)


async def test_depth_is_that_of_those_above(tmp_path: Path) -> None:
    """An agent that would call itself for ever is stopped by the first one's limit."""
    parent = boss(
        Answer(calls=(task("boss"),)), "done", children=Children(agents=("boss",), depth=2), callable_by=("boss",)
    )
    async with running(tmp_path, parent) as runtime:
        session = await runtime.session("boss")
        assert await session.ask("go") == "done"
        assert len(await below(runtime.node.store, session.id)) == 2


async def test_the_parent_s_money_is_the_tree_s(tmp_path: Path) -> None:
    """What children spend counts; the parent's own log and the ledger still say the same of itself."""
    profile = Profile(price=Price(1_000, 1_000), max_output=1_000)
    spender = Agent("helper", model=ScriptedModel(by_step(["spent"]), profile=profile), callable_by=("boss",))
    calls = tuple(task("helper", f"{place}") for place in range(4))
    parent = boss(
        Answer(calls=calls), "done", children=Children(agents=("*",), at_once=1), limits=Limits(session_money=0.0013)
    )
    free = Profile(price=Price(0, 0))
    parent = parent.replace(model=ScriptedModel(by_step([Answer(calls=calls), "done"]), profile=free))
    async with running(tmp_path, parent, spender) as runtime:
        session = await runtime.session("boss")
        assert await session.ask("go") == "done"
        outcomes = await ended(await events(session, runtime))
        assert outcomes[0] == "answered"
        assert outcomes[-1] == "limit"
        assert "session_money" in seen(parent)[-1]
        spent = await runtime.node.model_pool.balance(f"tree:{session.id}")
        assert 0 < spent <= 1_300_000
        assert await runtime.node.model_pool.balance(f"session:{session.id}") == 0
        await session.delete()
        assert await runtime.node.model_pool.balance(f"tree:{session.id}") == 0


@tool(replay="safe", safety="read_only", taints=True)
async def outside() -> str:
    """What strangers write."""
    return "from far away"


async def test_taint_goes_both_ways(tmp_path: Path) -> None:
    parent = boss(Answer(calls=(task("helper"),)), Answer(calls=(task("second"),)), "done")
    taints = helper(Answer(calls=(Call("outside"),)), "read it", tools=(outside,))
    async with running(tmp_path, parent, taints, echo("second")) as runtime:
        session = await runtime.session("boss")
        assert await session.ask("go") == "done"
        log = await events(session, runtime)
        assert [event.by for event in log if isinstance(event, ev.SessionTainted)] == ["agent helper"]
        second = [event.child for event in log if isinstance(event, ChildStarted)][1]
        assert "session.tainted" in kinds(await events(runtime.open(second), runtime))


async def test_a_parent_says_that_its_child_waits_for_a_person(tmp_path: Path) -> None:
    @tool(replay="safe", safety="safe_write")
    async def change() -> str:
        """Change something."""
        return "changed"

    parent = boss(Answer(calls=(task("helper"),)), "done")
    careful = helper(Answer(calls=(Call("change"),)), "changed it", tools=(change,), permissions="ask")
    async with running(tmp_path, parent, careful) as runtime:
        session = await runtime.session("boss")
        item = await session.send("go")
        waits = await until(session, ChildWaits)
        child = await child_of(runtime, session)
        assert (waits.child, waits.session, waits.tool) == (child.id, child.id, "change")
        [asked] = (await runtime.approvals.waiting(session.id)).approvals
        assert (asked.session, asked.call, asked.tool) == (child.id, waits.call, "change")
        await runtime.approvals.answer(asked.session, asked.call, "approve")
        assert await session.answer(item.id) == "done"
        assert (await runtime.approvals.waiting(session.id)).approvals == []


async def test_what_is_said_to_a_parent_that_waits_is_heard_after(tmp_path: Path) -> None:
    parent = boss(Answer(calls=(task("helper"),)), "done")
    async with running(tmp_path, parent, echo(delay=lambda _: 0.6)) as runtime:
        session = await runtime.session("boss")
        item = await session.send("go")
        await until(session, ChildStarted)
        await session.send("hurry", mode="steer")
        assert await session.answer(item.id) == "done"
        log = await events(session, runtime)
        assert kinds(log).count("turn.started") == 1
        assert said(log) == ["go", "hurry"]
        assert kinds(log).index("child.ended") < len(kinds(log)) - 1 - kinds(log)[::-1].index("input.received")


async def test_what_the_user_says_goes_before_tasks_that_have_not_begun(tmp_path: Path) -> None:
    gate, started = asyncio.Event(), asyncio.Event()

    @tool(replay="safe", safety="safe_write")
    async def slow() -> str:
        """Slow."""
        started.set()
        await gate.wait()
        return "slow"

    calls = (Call("slow"), Call("list_agents"), task("helper"), task("helper", background=True))

    def say(request: Request) -> Answer | str:
        return "as you say" if any(isinstance(one, ToolMessage) for one in request.messages) else Answer(calls=calls)

    lead = Agent("boss", model=ScriptedModel(say), tools=["task", "list_agents", slow], permissions="all", children=ALL)
    async with running(tmp_path, lead, echo()) as runtime:
        session = await runtime.session("boss")
        item = await session.send("go")
        await started.wait()
        await session.send("give nobody any task", mode="steer")
        while not runtime.node.slots.live[session.id].inbox:
            await asyncio.sleep(0.01)
        gate.set()
        assert await session.answer(item.id) == "as you say"
        log = await events(session, runtime)
        assert await runtime.sessions.find(SessionQuery(parent=session.id)) == []
    assert "child.started" not in kinds(log)
    done = [event for event in log if isinstance(event, ev.ToolCompleted)]
    assert [event.outcome for event in done][2:] == ["skipped"] * 2
    assert said(log) == ["go", "give nobody any task"]


async def test_agents_write_to_each_other(tmp_path: Path) -> None:
    parent = boss(
        Answer(calls=(Call("message_agent", {"to": "helper", "text": "mind the gap"}),)),
        Answer(calls=(Call("list_agents"),)),
        "done",
    )
    async with running(tmp_path, parent, echo(description="helps")) as runtime:
        await runtime.session("helper", labels={"user": "bob"})
        other = await runtime.session("helper", labels={"user": "ann"})
        session = await runtime.session("boss", labels={"user": "ann"})
        assert await session.ask("go") == "done"
        assert seen(parent) == ["- helper: helps"]
        received = await until(other, ev.InputReceived)
        assert received.source == f"agent:boss:{session.id}"
        assert said(await events(other, runtime)) == ["mind the gap"]


async def test_an_agent_is_found_behind_newer_sessions_that_are_not_meant(tmp_path: Path) -> None:
    """Those of other users, also for who has none, and those that take no messages."""

    def say(request: Request) -> Answer | str:
        if isinstance(request.messages[-1], ToolMessage):
            return "done"
        return Answer(calls=(Call("message_agent", {"to": "helper", "text": "hello"}),))

    parent = Agent("boss", model=ScriptedModel(say), tools=["message_agent"], permissions="all", children=ALL)
    async with running(tmp_path, parent, echo()) as runtime:
        for labels in ({}, {"user": "ann"}):
            meant = await runtime.session("helper", labels=labels)
            store = runtime.node.store
            for one in range(230):
                new = NewSession(id=f"{meant.id}-{one}", agent="helper", version="1", labels={"user": f"u{one}"})
                await store.sessions.create(new, [])
            session = await runtime.session("boss", labels=labels)
            assert await session.ask("go") == "done"
            assert (await until(meant, ev.InputReceived)).source == f"agent:boss:{session.id}"


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("to", ["nobody", "parent", "stranger", "self"])
async def test_whom_an_agent_may_not_write_to(tmp_path: Path, to: str) -> None:
    sent: list[str] = [to]

    def say(request: Request) -> Answer | str:
        if isinstance(request.messages[-1], ToolMessage):
            return "done"
        return Answer(calls=(Call("message_agent", {"to": sent[0], "text": "hello"}),))

    parent = Agent("boss", model=ScriptedModel(say), tools=["message_agent"], children=ALL, callable_by=("*",))
    async with running(tmp_path, parent, echo()) as runtime:
        stranger = await runtime.session("helper", labels={"user": "bob"})
        session = await runtime.session("boss", labels={"user": "ann"})
        if to in ("stranger", "self"):
            sent[0] = stranger.id if to == "stranger" else session.id
        assert await session.ask("go") == "done"
        log = await events(session, runtime)
        assert [event.outcome for event in log if isinstance(event, ev.ToolCompleted)] == ["error"]
        assert (await runtime.sessions.get(stranger.id)).pending == 0


class Fixed(set[str]):
    """Never grows."""

    def add(self, _: str) -> None:
        pass


async def test_a_child_on_another_node(tmp_path: Path) -> None:
    """The parent's node knows the agent and runs the parent alone, and has said so from its start."""
    parent = boss(Answer(calls=(task("helper", "far away"),)), "done")
    config = KernelConfig(linger=0.05, scan=0.2, lease=3.0, only=Fixed({"ses_parent"}))
    async with running(tmp_path, parent, echo(), config=config) as runtime:
        session = await runtime.session("boss", id="ses_parent")
        item = await session.send("go")
        child = await child_of(runtime, session)
        await asyncio.sleep(0.3)
        assert (await runtime.sessions.get(child.id)).pending == 1
        async with running(tmp_path, echo()) as other:
            assert await session.answer(item.id) == "done"
            assert (await other.sessions.get(child.id)).state == "running"
        assert seen(parent) == ["did far away"]


async def test_a_child_that_vanished_without_a_word(tmp_path: Path) -> None:
    """As a backup may leave it."""
    parent = boss(Answer(calls=(task("helper"),)), "so it goes")
    async with running(tmp_path, parent, echo(delay=lambda _: 30.0)) as runtime:
        session = await runtime.session("boss")
        item = await session.send("go")
        child = await child_of(runtime, session)
        await asleep(runtime, session)
        await runtime.node.evict(child.id)
        claims = await runtime.node.store.dispatch.claim(runtime.node.id, session=child.id)
        await runtime.node.store.sessions.delete(child.id, epoch=claims[0].epoch if claims else None)
        await session.bus.emit("poke", None)
        assert await session.answer(item.id) == "so it goes"
        assert await ended(await events(session, runtime)) == ["deleted"]


async def test_who_works_on_one_session_alone_works_on_its_children(tmp_path: Path) -> None:
    """As a command does that needs no daemon."""
    parent = boss(Answer(calls=(task("helper"),)), "done")
    config = KernelConfig(linger=0.05, scan=0.2, lease=3.0, only=set())
    async with running(tmp_path, parent, echo(), config=config) as runtime:
        session = await runtime.session("boss")
        assert config.only is not None
        config.only.add(session.id)
        assert await session.ask("go") == "done"


async def test_a_restart_in_the_midst(tmp_path: Path) -> None:
    """The child's step is made again; the parent, which slept, hears of its end."""
    parent = boss(Answer(calls=(task("helper"),)), "done")
    async with running(tmp_path, parent, echo(delay=lambda _: 30.0)) as runtime:
        session = await runtime.session("boss")
        item = await session.send("go")
        child = await child_of(runtime, session)
        await until(child, ev.ModelStarted)
    async with running(tmp_path, parent, echo()) as runtime:
        session = runtime.open(session.id)
        assert await session.answer(item.id) == "done"
        assert await ended(await events(session, runtime)) == ["answered"]


async def test_an_isolation_that_nobody_offers(tmp_path: Path) -> None:
    parent = boss(Answer(calls=(task("helper"),)), "alone then")
    team = [parent, echo(isolation=Isolation(required=2))]
    async with Runtime(tmp_path, agents=team, config=FAST, store=place.url, backends=()) as runtime:
        session = await runtime.session("boss")
        assert await session.ask("go") == "alone then"
        assert "isolation" in seen(parent)[0]
        assert "child.started" not in kinds(await events(session, runtime))


async def test_going_back_ends_what_is_awaited(tmp_path: Path) -> None:
    parent = boss(Answer(calls=(task("helper"),)), "done")
    async with running(tmp_path, parent, echo(delay=lambda _: 30.0)) as runtime:
        session = await runtime.session("boss")
        await session.send("go")
        child = await child_of(runtime, session)
        await until(child, ev.ModelStarted)
        await runtime.checkpoints.rollback(session.id, 1)
        end = await until(child, ev.TurnCompleted)
        assert end.outcome == "cancelled"
        assert await ended(await events(session, runtime)) == ["cancelled"]
        assert (await session.inspect()).turns == 1


async def test_a_fork_has_none_of_the_children(tmp_path: Path) -> None:
    calls = Answer(calls=(task("helper", background=True),))
    parent = boss(calls, "begun")
    async with running(tmp_path, parent, echo(delay=lambda _: 0.5)) as runtime:
        session = await runtime.session("boss")
        await session.ask("go")
        fork = await runtime.checkpoints.fork(session.id)
        await until(session, ChildEnded)
        await asleep(runtime, session)
        log = await events(runtime.open(fork.id), runtime)
        assert "child.ended" not in kinds(log)
        assert (await runtime.sessions.get(fork.id)).pending == 0


async def test_a_parent_on_another_node(tmp_path: Path) -> None:
    """It sleeps; its node leaves, and another one that has only the child's end to tell of takes it up."""
    parent = boss(Answer(calls=(task("helper"),)), "done")
    config = KernelConfig(linger=0.05, scan=0.2, lease=3.0, only=set())
    async with running(tmp_path, parent, echo(delay=lambda _: 1.5)) as far:
        async with running(tmp_path, parent, echo(), config=config) as near:
            session = await near.session("boss")
            far.node.membership.config = KernelConfig(linger=0.05, scan=0.2, lease=3.0, only=Fixed())
            assert config.only is not None
            config.only.add(session.id)
            await session.send("go")
            child = await child_of(near, session)
            await asleep(near, session)
        far.node.membership.config = KernelConfig(linger=0.05, scan=0.2, lease=3.0)
        far.node.scan()
        session = far.open(session.id)
        end = await until(session, ev.TurnCompleted)
        assert end.outcome == "answered"
        assert (await far.sessions.get(child.id)).parent == session.id


async def test_what_waits_far_below_is_told_above(tmp_path: Path) -> None:
    @tool(replay="safe", safety="safe_write")
    async def change() -> str:
        """Change something."""
        return "changed"

    middle = Agent(
        "middle",
        model=ScriptedModel(by_step([Answer(calls=(task("leaf"),)), "m"])),
        tools=["task"],
        children=ALL,
        callable_by=("boss",),
        permissions="all",
    )
    leaf = helper(
        Answer(calls=(Call("change"),)), "ok", name="leaf", tools=(change,), permissions="ask", callable_by=("middle",)
    )
    parent = boss(Answer(calls=(task("middle"),)), "done")
    async with running(tmp_path, parent, middle, leaf) as runtime:
        session = await runtime.session("boss")
        item = await session.send("go")
        waits = await until(session, ChildWaits)
        child = await child_of(runtime, session)
        grandchild = await child_of(runtime, child)
        assert (waits.child, waits.session) == (child.id, grandchild.id)
        [asked] = (await runtime.approvals.waiting(session.id)).approvals
        assert asked.session == grandchild.id
        await runtime.approvals.answer(asked.session, asked.call, "reject")
        assert await session.answer(item.id) == "done"
        assert [info.id for info in await tree(runtime, session.id)] == [session.id, child.id, grandchild.id]


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    "arguments",
    [
        {"agent": "helper", "prompt": " "},
        {"agent": "helper", "prompt": "x" * 300_000},
        {"agent": "helper", "prompt": "x", "deadline": 0},
        {"agent": "helper", "prompt": "x", "deadline": "soon"},
        {"agent": 7, "prompt": "x"},
        {"agent": "helper"},
        "not JSON",
    ],
)
async def test_a_task_that_is_none(tmp_path: Path, arguments: Any) -> None:
    parent = boss(Answer(calls=(Call("task", arguments),)), "alone then")
    async with running(tmp_path, parent, echo()) as runtime:
        session = await runtime.session("boss")
        assert await session.ask("go") == "alone then"
        log = await events(session, runtime)
        assert {event.outcome for event in log if isinstance(event, ev.ToolCompleted)} <= {"error"}  # or not even run
        assert [one.id for one in await tree(runtime, session.id)] == [session.id]


async def test_cancelling_a_turn_leaves_what_runs_in_the_background(tmp_path: Path) -> None:
    calls = Answer(calls=(task("helper", "back", background=True), task("helper", "front")))
    parent = boss(calls, "done")
    async with running(tmp_path, parent, echo(delay=lambda text: 1.0 if text == "back" else 30.0)) as runtime:
        session = await runtime.session("boss")
        await session.send("go")
        async with asyncio.timeout(30):
            while len(await tree(runtime, session.id)) < 3:
                await asyncio.sleep(0.02)
            while (await runtime.sessions.get(session.id)).phase != "waiting":
                await asyncio.sleep(0.02)
        await session.control("cancel")
        async with asyncio.timeout(30):
            while len(await ended(await events(session, runtime))) < 2:
                await asyncio.sleep(0.05)
        assert await ended(await events(session, runtime)) == ["cancelled", "answered"]


async def test_what_a_child_says_is_judged_as_any_result(tmp_path: Path) -> None:
    async def no_birds(moment: Moment) -> HookAnswer:
        return HookAnswer(decision="deny" if "birds" in moment.text else "passthrough", reason="no birds")

    hook = PythonHook(no_birds, on=("post_tool",), name="birds")
    parent = boss(Answer(calls=(task("helper", "count the birds"),)), "done", hooks=[hook])
    async with running(tmp_path, parent, echo()) as runtime:
        session = await runtime.session("boss")
        assert await session.ask("go") == "done"
        assert seen(parent) == ["[the call has taken effect; its result is withheld: no birds]"]


async def test_a_task_that_cannot_begin_keeps_no_other_waiting(tmp_path: Path) -> None:
    bad = task("walled")
    calls = (bad, task("helper", "1"), bad, bad, task("helper", "2"))
    parent = boss(Answer(calls=calls), "done", children=Children(agents=("*",), at_once=1))
    team = [parent, echo(), echo("walled", isolation=Isolation(required=2))]
    async with Runtime(tmp_path, agents=team, config=FAST, store=place.url, backends=()) as runtime:
        session = await runtime.session("boss")
        assert await session.ask("go") == "done"
        assert ["did" in text for text in seen(parent)] == [False, True, False, False, True]


async def test_an_agent_gives_up_a_task_of_its_own(tmp_path: Path) -> None:
    told: list[str] = []

    def say(request: Request) -> Answer | str:
        last = request.messages[-1]
        if isinstance(last, UserMessage):
            text = "".join(part.text for part in last.parts if isinstance(part, Text))
            return "so be it" if "cancelled" in text else Answer(calls=(task("helper", background=True),))
        told.extend(results(request))
        match len(told):
            case 1:
                return Answer(calls=(Call("list_agents"),))
            case 2:
                session = told[1].partition("- session ")[2].partition(":")[0]
                return Answer(calls=(Call("cancel_task", {"session": session}), Call("cancel_task", {"session": "no"})))
            case _:
                return "given up"

    parent = Agent("boss", model=ScriptedModel(say), tools=["task", "cancel_task", "list_agents"], children=ALL)
    async with running(tmp_path, parent, echo(delay=lambda _: 30.0)) as runtime:
        session = await runtime.session("boss")
        assert await session.ask("go") == "given up"
        assert "no task of yours" in told[-1]
        async with asyncio.timeout(30):
            while (await session.inspect()).turns < 2:
                await asyncio.sleep(0.02)
        assert await ended(await events(session, runtime)) == ["cancelled"]
