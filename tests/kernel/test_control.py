"""Steer, follow-up, pause, cancel, stop: each takes effect in the middle of a model call or of a tool."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from roost.agent.definition import Agent
from roost.errors import Conflict, Invalid
from roost.log import events as ev
from roost.log.content import AssistantMessage
from roost.log.dispatch import NodeCard
from roost.log.protocols import Append
from roost.models.request import Price, Profile
from roost.runtime import TurnFailed
from roost.testing.clock import MovedClock
from roost.testing.scripted import Answer, ScriptedModel
from roost.testing.transcript import check_transcript

from .support import Traces, agent, asleep, calling, events, kinds, outcomes, running, said, until

SLOW = Answer(text="slow", delay=600.0)


async def test_cancel_in_a_model_call(tmp_path: Path) -> None:
    async with running(tmp_path, agent([SLOW])) as runtime:
        session = await runtime.session("a")
        await session.send("hi")
        await until(session, ev.ModelStarted)
        await session.control("cancel")
        done = await until(session, ev.TurnCompleted)
        assert done.outcome == "cancelled"
        log = await events(session, runtime)
        (failed,) = [event for event in log if isinstance(event, ev.ModelFailed)]
        assert failed.error.code == "cancel"
        assert "model.completed" not in kinds(log)
        assert (await session.inspect()).info.phase == "idle"


async def test_cancel_in_a_tool_stops_it(tmp_path: Path) -> None:
    traces = Traces()
    async with running(tmp_path, agent([calling("never"), "end"], traces.tools())) as runtime:
        session = await runtime.session("a")
        await session.send("hi")
        await traces.started.wait()
        await session.control("cancel")
        assert (await until(session, ev.TurnCompleted)).outcome == "cancelled"
        assert (traces.cut, traces.done) == (["never"], [])
        assert set(outcomes(await events(session, runtime)).values()) == {"cancelled"}
        traces.gate.set()
        assert await session.ask("again") == "end"


async def test_a_cancel_of_one_message_cancels_no_other_turn(tmp_path: Path) -> None:
    def script(request):
        return SLOW if "slowly" in request.messages[-1].parts[-1].text else Answer(text="said", delay=0.3)

    async with running(tmp_path, Agent("a", model=ScriptedModel(script))) as runtime:
        session = await runtime.session("a")
        first = await session.send("hi")
        await until(session, ev.TurnCompleted)
        second = await session.send("more")
        await until(session, ev.ModelStarted, after=second.head)
        await runtime.sessions.control(session.id, "cancel", input=first.id)
        done = await until(session, ev.TurnCompleted, after=second.head)
        assert done.outcome == "answered"
        assert kinds(await events(session, runtime)).count("model.started") == 2, "the model call was not cut off"
        third = await session.send("slowly")
        await until(session, ev.ModelStarted, after=third.head)
        await runtime.sessions.control(session.id, "cancel", input=second.id, wait=0)
        await runtime.sessions.control(session.id, "cancel", input=third.id)
        assert (await until(session, ev.TurnCompleted, after=third.head)).outcome == "cancelled"
        with pytest.raises(Invalid):
            await runtime.sessions.control(session.id, "pause", input=third.id)


async def test_a_cancel_finds_its_message_before_the_turn_has_begun(tmp_path: Path) -> None:
    async with running(tmp_path, agent([SLOW])) as runtime:
        session = await runtime.session("a")
        await session.control("pause")
        sent = await session.send("hi")
        await runtime.sessions.control(session.id, "cancel", input=sent.id + 100, wait=0)
        await session.control("resume")
        await runtime.sessions.control(session.id, "cancel", input=sent.id)
        assert (await until(session, ev.TurnCompleted)).outcome == "cancelled"


async def test_cancel_of_an_idle_session_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["one"])) as runtime:
        session = await runtime.session("a")
        assert await session.ask("hi") == "one"
        info = await session.control("cancel")
        assert info.state == "running"
        assert await session.ask("again") == "one"


@pytest.mark.parametrize(("name", "repeated"), [("safe", True), ("never", False)])
async def test_pause_in_a_tool_then_resume(tmp_path: Path, name: str, repeated: bool) -> None:
    traces = Traces()
    async with running(tmp_path, agent([calling(name), "end"], traces.tools())) as runtime:
        session = await runtime.session("a")
        await session.send("hi")
        await traces.started.wait()
        info = await asyncio.wait_for(session.control("pause"), 30)
        assert info.state == "paused"
        assert traces.cut == [name]
        await asleep(runtime, session)
        traces.gate.set()
        await session.send("queued")
        await asyncio.sleep(0.3)
        assert (await session.inspect()).info.pending == 1
        await session.control("resume")
        done = await until(session, ev.TurnCompleted)
        assert done.outcome == "answered"
        first = traces.keys[0]  # the next turn, of the queued message, may have begun
        assert traces.keys.count(first) == (2 if repeated else 1)
        assert outcomes(await events(session, runtime))["call_1_0"] == ("ok" if repeated else "interrupted")


async def test_pause_in_a_model_call_then_resume(tmp_path: Path, clock: MovedClock) -> None:
    async with running(tmp_path, agent([Answer(text="slow", delay=10.0)])) as runtime:
        session = await runtime.session("a")
        await session.send("hi")
        await until(session, ev.ModelStarted)
        assert (await session.control("pause")).state == "paused"
        await clock.sleep(10.2)
        assert "model.completed" not in kinds(await events(session, runtime))
        await session.control("resume")
        assert (await clock.hurry(until(session, ev.TurnCompleted, timeout=300.0), 50.0)).outcome == "answered"


async def test_steer_in_a_model_call_is_seen_by_the_next_one(tmp_path: Path) -> None:
    async with running(tmp_path, agent([Answer(text="slow", delay=1.0)])) as runtime:
        session = await runtime.session("a")
        await session.send("hi")
        await until(session, ev.ModelStarted)
        await session.send("no, this", mode="steer")
        assert (await until(session, ev.TurnCompleted)).outcome == "answered"
        log = await events(session, runtime)
        assert kinds(log).count("turn.started") == 1
        assert said(log) == ["hi", "no, this"]
        order = kinds(log)
        assert order.index("model.failed") < len(order) - order[::-1].index("input.received")


async def test_steer_in_a_tool_waits_for_it_and_skips_the_next(tmp_path: Path) -> None:
    traces = Traces()
    model = ScriptedModel([calling("safe", "never"), "end"])
    async with running(tmp_path, Agent("a", model=model, tools=traces.tools(), permissions="all")) as runtime:
        session = await runtime.session("a")
        await session.send("hi")
        await traces.started.wait()
        await session.send("stop that", mode="steer")
        await asyncio.sleep(0.1)
        assert traces.cut == []
        traces.gate.set()
        assert (await until(session, ev.TurnCompleted)).outcome == "answered"
        assert traces.done == ["safe"]
        log = await events(session, runtime)
        assert sorted(outcomes(log).values()) == ["ok", "skipped"]
        assert said(log) == ["hi", "stop that"]
        check_transcript(await runtime.sessions.transcript(session.id))


async def test_follow_up_is_answered_after(tmp_path: Path) -> None:
    traces = Traces()
    async with running(tmp_path, agent([calling("safe"), "end"], traces.tools())) as runtime:
        session = await runtime.session("a")
        first = await session.send("one")
        await traces.started.wait()
        second = await session.send("two")
        traces.gate.set()
        assert await session.answer(first.id) == "end"
        assert await session.answer(second.id) == "end"
        log = await events(session, runtime)
        turns = [(event.turn, event.input) for event in log if isinstance(event, ev.TurnStarted)]
        assert turns == [(1, first.id), (2, second.id)]


async def test_stop_and_start_again(tmp_path: Path) -> None:
    async with running(tmp_path, agent([SLOW], name="slow"), agent(["quick"])) as runtime:
        session = await runtime.session("slow")
        await session.send("hi")
        await until(session, ev.ModelStarted)
        assert (await session.control("stop")).state == "stopped"
        ends = [event for event in await events(session, runtime) if isinstance(event, ev.TurnCompleted)]
        assert ends[-1].outcome == "cancelled"
        with pytest.raises(Conflict) as refused:
            await session.send("more")
        assert refused.value.code == "session_stopped"
        assert (await session.control("start")).state == "running"
        await session.send("more")
        await until(session, ev.ModelStarted, after=(await session.inspect()).info.head - 1)


async def test_the_same_control_twice_is_applied_once(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        session = await runtime.session("a")
        await session.ask("hi")
        await asyncio.gather(*(runtime.sessions.control(session.id, "pause", key="k") for _ in range(5)))
        await until(session, ev.StateChanged, after=2)
        log = await events(session, runtime)
        assert kinds(log).count("control.applied") == 1


async def test_deltas_of_a_cut_call_are_not_an_answer(tmp_path: Path) -> None:
    async with running(tmp_path, agent([Answer(text="half of an answer", pace=0.2, piece=4)])) as runtime:
        session = await runtime.session("a")
        await session.send("hi")
        pieces = []
        async for batch in runtime.sessions.stream(session.id):
            pieces += [frame for frame in batch if frame.seq is None]
            if pieces:
                break
        await session.control("cancel")
        messages = await runtime.sessions.transcript(session.id)
        assert not any(isinstance(message, AssistantMessage) for message in messages)
        with pytest.raises(TurnFailed, match="cancelled"):
            await session.answer(1)


async def test_a_call_that_was_cut_off_is_paid_for(tmp_path: Path) -> None:
    model = ScriptedModel(
        [Answer(text="half of an answer " * 20, pace=0.1, piece=10), "done"], profile=Profile(price=Price(10, 100))
    )
    async with running(tmp_path, Agent("a", model=model)) as runtime:
        session = await runtime.session("a")
        await session.send("hi " * 100)
        async for batch in runtime.sessions.stream(session.id):
            if sum(frame.seq is None for frame in batch):
                break
        await session.send("no, this", mode="steer")
        await until(session, ev.TurnCompleted)
        log = await events(session, runtime)
        (cut,) = [event for event in log if isinstance(event, ev.ModelFailed)]
        assert cut.usage is not None
        assert cut.usage.input > 70
        assert cut.usage.output > 0
        assert cut.usage.cost == cut.usage.input * 10 + cut.usage.output * 100
        (whole,) = [event for event in log if isinstance(event, ev.ModelCompleted)]
        assert (await session.inspect()).usage == cut.usage + whole.usage


async def test_a_cancel_right_after_a_message_cancels_it(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        session = await runtime.session("a")
        await session.control("start")
        await asleep(runtime, session)
        journal = runtime.node.store
        await journal.dispatch.beat(NodeCard(id="other"), ttl=60)
        (claim,) = await journal.dispatch.claim("other", session=session.id)
        await session.send("hi")
        waiting = asyncio.create_task(session.control("cancel"))
        async with asyncio.timeout(30):
            while (await runtime.sessions.get(session.id)).pending < 2:
                await asyncio.sleep(0.01)
        await journal.logs.append(Append(session=session.id, epoch=claim.epoch, expected=claim.info.head, release=True))
        await waiting
        assert (await until(session, ev.TurnCompleted)).outcome == "cancelled"
        assert "model.started" not in kinds(await events(session, runtime))
