"""Turns that nobody asked for: heartbeats, turns beside the conversation, and what they have to say."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from roost.agent.definition import Agent, Children, Limits
from roost.features.schedules.events import ContextCleared, ScheduleSet
from roost.features.schedules.outbox import outbox
from roost.log import events as ev
from roost.log.content import AssistantMessage
from roost.log.schedule_events import ScheduleSpec, TurnLimits
from roost.runtime import Runtime, SessionHandle
from roost.testing.scripted import Answer, Call, ScriptedModel

from .scheduling import HOUR, Clock, Speaker, due, fire, fired, hourly, quiet
from .support import Traces, agent, calling, events, running, until

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
BEAT = ScheduleSpec(text="anything new?", every=HOUR, heartbeat=True, idle_after=3)


async def beat(runtime: Runtime, session: SessionHandle, clock: Clock, name: str = "beat") -> None:
    before = len(await fired(session, runtime))
    clock.go_to(await due(runtime, session, name) + 1)
    await fire(runtime, clock)
    async with asyncio.timeout(30):
        while len(await fired(session, runtime)) == before:
            await asyncio.sleep(0.01)
    await quiet(runtime, session)


async def talk(session: SessionHandle, runtime: Runtime) -> list[str]:
    """The conversation as the model will see it: who said how much."""
    return [
        message.text if isinstance(message, AssistantMessage) else "> " + message.parts[-1].text  # type: ignore[union-attr]
        for message in await runtime.sessions.transcript(session.id)
    ]


async def test_a_heartbeat_that_has_nothing_to_do_rests_until_somebody_speaks(tmp_path: Path) -> None:
    clock, clerk = Clock(), Speaker("I remember")
    async with running(tmp_path, clerk.agent, config=clock.config) as runtime:
        session = await runtime.session("a")
        await session.ask("remember the milk")
        await runtime.schedules.set(session.id, "beat", BEAT)
        for count, says in enumerate(["HEARTBEAT_OK", "the bell rang", "heartbeat_ok.", "`HEARTBEAT_OK`"]):
            clerk.says = says
            await beat(runtime, session, clock)
            assert (await runtime.schedules.get(session.id, "beat")).idle == [1, 0, 1, 2][count]
            assert len(clerk.heard()) == 1  # nothing of the conversation
            assert "HEARTBEAT_OK and nothing else" in clerk.heard()[0]
        await beat(runtime, session, clock)
        rests = await runtime.schedules.get(session.id, "beat")
        assert (rests.state, rests.coming) == ("idle", ())
        said = [event.paused for event in await events(session, runtime) if isinstance(event, ScheduleSet)]
        assert said == [None, "idle"]
        clock.ahead += 50 * HOUR
        await fire(runtime, clock)
        await quiet(runtime, session)
        assert len(await fired(session, runtime)) == 5
        clerk.says = "hello again"
        await session.ask("are you there?")
        assert (await runtime.schedules.get(session.id, "beat")).state == "active"
        assert await due(runtime, session, "beat") > clock()
        conversation = await talk(session, runtime)
        assert [line for line in conversation if not line.startswith(">")] == [
            "I remember", "the bell rang", "hello again",
        ]  # fmt: skip
        assert clerk.heard()[0] == "remember the milk"
        found = await outbox(runtime.sessions, session.id)
        assert [(one.text, one.source) for one in found.messages] == [("the bell rang", "schedule:beat")]


async def test_a_heartbeat_has_limits_of_its_own(tmp_path: Path) -> None:
    clock, traces = Clock(), Traces()
    looking = agent([calling("look")], traces.tools(), limits=Limits(steps=40))
    async with running(tmp_path, looking, config=clock.config) as runtime:
        session = await runtime.session("a")
        await runtime.schedules.set(session.id, "beat", BEAT)
        await runtime.schedules.set(session.id, "two", hourly(limits=TurnLimits(steps=2)))
        await beat(runtime, session, clock, "two")
        await quiet(runtime, session)
        ends = [event for event in await events(session, runtime) if isinstance(event, ev.TurnCompleted)]
        assert sorted((event.outcome, event.reason, event.steps) for event in ends) == [
            ("limit", "steps", 2), ("limit", "steps", 10),
        ]  # fmt: skip
        await session.send("look yourself")
        end = await until(session, ev.TurnCompleted, after=(await runtime.sessions.get(session.id)).head)
        assert end.steps == 40


async def test_a_fresh_turn_sees_what_is_pinned_and_leaves_its_answer(tmp_path: Path) -> None:
    clock, clerk = Clock(), Speaker("noted")
    async with running(tmp_path, clerk.agent, config=clock.config) as runtime:
        session = await runtime.session("a")
        for number in range(3):
            await session.ask(f"message {number}")
        await runtime.compaction.pin(session.id, "rule", "never after ten")
        await runtime.schedules.set(session.id, "beat", hourly("the report", fresh=True))
        clerk.says = "all is well"
        await beat(runtime, session, clock)
        assert len(clerk.heard()) == 2
        assert "never after ten" in clerk.heard()[0]
        assert clerk.heard()[1].endswith("]\nthe report")
        clerk.says = "yes"
        await session.ask("good")
        assert [text.split("\n")[-1] for text in clerk.heard()[:4]] == [
            *(f"message {n}" for n in range(3)),
            "the report",
        ]
        assert "never after ten" in clerk.heard()[4]
        assert (await talk(session, runtime))[-3:-1] == ["all is well", "> good"]


async def test_who_speaks_in_a_turn_beside_the_conversation_is_kept_whole(tmp_path: Path) -> None:
    clock, traces = Clock(), Traces()
    async with running(tmp_path, agent([calling("safe"), "done"], traces.tools()), config=clock.config) as runtime:
        session = await runtime.session("a")
        await runtime.schedules.set(session.id, "beat", BEAT)
        clock.go_to(await due(runtime, session, "beat") + 1)
        await fire(runtime, clock)
        await traces.started.wait()
        await session.send("and look behind the door", mode="steer")
        traces.gate.set()
        await until(session, ev.TurnCompleted)
        await quiet(runtime, session)
        conversation = await runtime.sessions.transcript(session.id)
        assert len(conversation) >= 5
        assert (await outbox(runtime.sessions, session.id)).messages == ()


async def test_the_outbox_is_read_from_where_it_was_left(tmp_path: Path) -> None:
    clock, clerk = Clock(), Speaker()
    async with running(tmp_path, clerk.agent, config=clock.config) as runtime:
        session = await runtime.session("a")
        await runtime.schedules.set(session.id, "beat", hourly())
        for number in range(3):
            clerk.says = f"news {number}"
            await beat(runtime, session, clock)
            await session.ask("a question")
        first = await outbox(runtime.sessions, session.id, limit=2)
        assert [one.text for one in first.messages] == ["news 0", "news 1"]
        assert first.next == first.messages[-1].seq
        rest = await outbox(runtime.sessions, session.id, after=first.next)
        assert [one.text for one in rest.messages] == ["news 2"]
        assert rest.next == (await runtime.sessions.get(session.id)).head
        nothing = await outbox(runtime.sessions, session.id, after=rest.next)
        assert (nothing.messages, nothing.next) == ((), rest.next)
        seen = [record.event async for record in _first(runtime, session, rest.next)]
        assert next(event.source for event in seen if isinstance(event, ev.InputReceived)) == "schedule:beat"


async def test_a_fork_where_a_turn_apart_would_begin_goes_on_with_the_conversation(tmp_path: Path) -> None:
    clock, clerk = Clock(), Speaker("noted")
    async with running(tmp_path, clerk.agent, config=clock.config) as runtime:
        session = await runtime.session("a")
        await session.ask("my name is Bob")
        await runtime.schedules.set(session.id, "beat", hourly("the report", fresh=True))
        await beat(runtime, session, clock)
        place = next(n for n, one in enumerate(await events(session, runtime), 1) if isinstance(one, ContextCleared))
        fork = runtime.open((await runtime.checkpoints.fork(session.id, place)).id)
        await fork.ask("what is my name?")
        assert [text.split("\n")[-1] for text in clerk.heard()] == ["my name is Bob", "what is my name?"]


async def test_a_copy_says_nothing_again_of_what_its_source_said(tmp_path: Path) -> None:
    clock, clerk = Clock(), Speaker()
    async with running(tmp_path, clerk.agent, config=clock.config) as runtime:
        session = await runtime.session("a")
        await runtime.schedules.set(session.id, "beat", hourly())
        clerk.says = "news"
        await beat(runtime, session, clock)
        file = tmp_path / "talk.jsonl"
        await runtime.exchange.write(session.id, file)
        brought = await runtime.exchange.read(file, id="copy")
        for copy in ((await runtime.checkpoints.fork(session.id)).id, brought.session.id):
            found = await outbox(runtime.sessions, copy, limit=1)
            assert (found.messages, found.next >= await runtime.sessions.base(copy) > 3) == ((), True)
            await runtime.schedules.set(copy, "own", hourly())
            clerk.says = "own news"
            await beat(runtime, runtime.open(copy), clock, "own")
            assert {one.text for one in (await outbox(runtime.sessions, copy)).messages} == {"own news"}


async def test_what_a_task_in_the_background_leads_to_is_brought(tmp_path: Path) -> None:
    clock, look = Clock(), Call("task", {"agent": "b", "prompt": "look", "background": True})
    model = ScriptedModel([Answer(calls=(look,)), "I have asked", "it is raining"])
    boss = Agent("a", model=model, tools=["task"], permissions="all", children=Children(agents=("b",)))
    helper = Agent("b", model=ScriptedModel(["rain"]), callable_by=("a",))
    async with running(tmp_path, boss, helper, config=clock.config) as runtime:
        session = await runtime.session("a")
        await runtime.schedules.set(session.id, "beat", hourly())
        await beat(runtime, session, clock)
        async with asyncio.timeout(30):
            while len((found := await outbox(runtime.sessions, session.id)).messages) < 2:
                await asyncio.sleep(0.01)
        assert [(one.source.partition(":")[0], one.text) for one in found.messages] == [
            ("schedule", "I have asked"),
            ("child", "it is raining"),
        ]


async def _first(runtime: Runtime, session: SessionHandle, upto: int):
    async for record in runtime.sessions.tail(session.id):
        yield record
        if record.seq == upto:
            return


async def test_forks_have_no_schedules_and_a_rollback_leaves_them(tmp_path: Path) -> None:
    clock, traces = Clock(), Traces()
    async with running(tmp_path, agent([calling("safe"), "done"], traces.tools()), config=clock.config) as runtime:
        session = await runtime.session("a")
        traces.gate.set()
        await session.ask("first")
        before = (await runtime.sessions.get(session.id)).head
        await runtime.schedules.set(session.id, "beat", BEAT)
        traces.gate.clear()
        traces.started.clear()
        clock.go_to(await due(runtime, session, "beat") + 1)
        await fire(runtime, clock)
        await traces.started.wait()  # in the midst of a turn beside the conversation
        amid = (await runtime.sessions.get(session.id)).head
        fork = runtime.open((await runtime.checkpoints.fork(session.id, amid)).id)
        assert (await runtime.schedules.of(fork.id)).schedules == []
        whole = (await talk(fork, runtime))[:4]
        assert whole[0] == "> first"
        traces.gate.set()
        await until(session, ev.TurnCompleted, after=(await runtime.sessions.get(session.id)).head)
        await quiet(runtime, session)
        coming = await due(runtime, session, "beat")
        await runtime.checkpoints.rollback(session.id, before)
        assert await due(runtime, session, "beat") == coming
        assert (await talk(session, runtime))[0] == "> first"
        await fork.ask("second")
        assert next(text for text in await talk(fork, runtime) if text.startswith("> ")) == "> first"
