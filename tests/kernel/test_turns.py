"""Turns: tools in parallel, limits, retries, approvals, errors as data."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from roost.agent.definition import Agent, Limits
from roost.errors import ConfigError, Invalid, NotFound
from roost.features.compaction.events import ContextCompacted
from roost.log import events as ev
from roost.log.content import ErrorData, Text, ToolMessage, Usage
from roost.log.session_info import Decision
from roost.models.request import Price, Profile
from roost.runtime import SessionHandle, TurnFailed
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step
from roost.testing.transcript import check_transcript
from roost.tools.function import tool

from .support import Traces, agent, asleep, calling, events, kinds, outcomes, running, until


async def test_a_turn_with_tools(tmp_path: Path) -> None:
    traces = Traces()
    script = [Answer(text="let me see", calls=(Call("look", {"what": "a"}), Call("look", {"what": "b"}))), "done"]
    async with running(tmp_path, agent(script, traces.tools())) as runtime:
        session = await runtime.session("a")
        assert await session.ask("hi") == "done"
        log = await events(session, runtime)
        assert kinds(log) == [
            "session.created",
            "session.state",
            "input.received",
            "turn.started",
            "model.started",
            "model.completed",
            "tool.started",
            "tool.started",
            "tool.completed",
            "tool.completed",
            "model.started",
            "model.completed",
            "turn.completed",
        ]
        results = [m for m in await runtime.sessions.transcript(session.id) if isinstance(m, ToolMessage)]
        assert [result.parts for result in results] == [(Text("saw a"),), (Text("saw b"),)]
        view = await session.inspect()
        assert (view.turns, view.steps, view.usage.input) == (1, 2, 200)


async def test_readers_run_together_and_writers_one_by_one(tmp_path: Path) -> None:
    busy, most = 0, {"read": 0, "write": 0}

    def counting(kind: str, safety: str) -> object:
        async def run() -> str:
            """Count how many run at once."""
            nonlocal busy
            busy += 1
            most[kind] = max(most[kind], busy)
            await asyncio.sleep(0.05)
            busy -= 1
            return "ok"

        run.__name__ = kind
        return tool(safety=safety, replay="safe")(run)  # type: ignore[call-overload]

    tools = [counting("read", "read_only"), counting("write", "safe_write")]
    script = [calling(*["read"] * 4, *["write"] * 3), "done"]
    async with running(tmp_path, agent(script, tools)) as runtime:  # type: ignore[arg-type]
        session = await runtime.session("a")
        assert await session.ask("hi") == "done"
    assert most == {"read": 4, "write": 1}


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(steps=3), "steps"),
        (Limits(tokens=250), "tokens"),
        (Limits(session_steps=2), "session_steps"),
        (Limits(money=0.0000002), "money"),
        (Limits(session_money=0.0000002), "session_money"),
    ],
)
async def test_limits_end_a_turn(tmp_path: Path, limits: Limits, reason: str) -> None:
    traces = Traces()
    profile = Profile(price=Price(input=1, output=1))
    model = ScriptedModel(by_step([calling("look")]), profile=profile)
    endless = Agent("a", model=model, tools=traces.tools(), permissions="all", limits=limits)
    async with running(tmp_path, endless) as runtime:
        session = await runtime.session("a")
        with pytest.raises(TurnFailed, match=reason):
            await session.ask("hi")
        done = (await events(session, runtime))[-1]
        assert isinstance(done, ev.TurnCompleted)
        assert (done.outcome, done.reason) == ("limit", reason)


@pytest.mark.parametrize("limits", [Limits(steps=1), Limits(session_steps=1)])
async def test_a_step_that_was_cut_off_is_not_counted_twice(tmp_path: Path, limits: Limits) -> None:
    slow = Agent("a", model=ScriptedModel([Answer(text="never heard", delay=60), "done"]), limits=limits)
    async with running(tmp_path, slow) as runtime:
        session = await runtime.session("a")
        await session.send("hi")
        await until(session, ev.ModelStarted)
    async with running(tmp_path, slow) as runtime:
        assert (await until(runtime.open(session.id), ev.TurnCompleted)).outcome == "answered"


async def test_a_step_that_a_limit_keeps_from_going_on_has_an_end_in_the_log(tmp_path: Path) -> None:
    slow = Answer(text="half of an answer " * 20, pace=0.1, piece=10)
    one = Agent("a", model=ScriptedModel([slow, "never"]), limits=Limits(tokens=1))
    async with running(tmp_path, one) as runtime:
        session = await runtime.session("a")
        await session.send("hi")
        await until(session, ev.ModelStarted)
        await asyncio.sleep(0.2)
    async with running(tmp_path, one) as runtime:
        await until(runtime.open(session.id), ev.TurnCompleted)
        log = await events(session, runtime)
        assert kinds(log)[-4:] == ["model.started", "model.lost", "model.failed", "turn.completed"]


async def test_money_of_an_unknown_price_is_not_spent(tmp_path: Path) -> None:
    model = ScriptedModel(by_step(["x"]), profile=Profile(price=None))
    async with running(tmp_path, Agent("a", model=model, limits=Limits(money=1.0))) as runtime:
        session = await runtime.session("a")
        with pytest.raises(TurnFailed, match="price_unknown"):
            await session.ask("hi")
        done = (await events(session, runtime))[-1]
        assert isinstance(done, ev.TurnCompleted)
        assert (done.outcome, model.calls) == ("limit", 0)
        assert (done.reason or "").startswith(f"price_unknown: what {model.name} costs is not known")
        assert "models.toml" in (done.reason or "")


async def test_time_limit_cuts_a_tool(tmp_path: Path) -> None:
    traces = Traces()
    limited = agent([calling("never"), "end"], traces.tools(), limits=Limits(seconds=0.3))
    async with running(tmp_path, limited) as runtime:
        sessions: list[SessionHandle] = []
        while not traces.cut and len(sessions) < 10:  # on a busy machine the time may be over before the tool begins
            sessions.append(session := await runtime.session("a"))
            with pytest.raises(TurnFailed, match="seconds"):
                await asyncio.wait_for(session.ask("hi"), 30)
        session = sessions[-1]
        assert traces.cut == traces.began == ["never"]
        assert set(outcomes(await events(session, runtime)).values()) == {"cancelled"}


async def test_time_of_a_session(tmp_path: Path) -> None:
    """What its turns have worked counts, also those that were cut, and over a restart; not what was waited for."""
    traces = Traces()
    limited = agent([calling("never"), "end"], traces.tools(), limits=Limits(seconds=0.3, session_seconds=0.5))
    async with running(tmp_path, limited) as runtime:
        session = await runtime.session("a")
        with pytest.raises(TurnFailed, match="limit: seconds"):
            await session.ask("hi")
        await asyncio.sleep(0.3)
    async with running(tmp_path, limited) as runtime:
        session = runtime.open(session.id)
        for _ in range(2):
            with pytest.raises(TurnFailed, match="session_seconds"):
                await session.ask("hi")
        spent = [event.seconds for event in await events(session, runtime) if isinstance(event, ev.TurnCompleted)]
        assert 0.3 <= spent[0] < 30
        assert 0.45 < sum(spent) < 30
        fork = runtime.open((await runtime.checkpoints.fork(session.id)).id)
        with pytest.raises(TurnFailed, match="limit: seconds"):
            await fork.ask("hi")


async def test_a_failing_model_is_tried_again(tmp_path: Path) -> None:
    failed = Answer(error=ErrorData("overloaded", "busy", retryable=True))
    model = ScriptedModel([failed, failed, "at last"])
    async with running(tmp_path, Agent("a", model=model)) as runtime:
        session = await runtime.session("a")
        assert await session.ask("hi") == "at last"
        log = await events(session, runtime)
        assert [event.kind for event in log if isinstance(event, ev.ModelNotice)] == ["retry", "retry"]
        assert kinds(log).count("model.started") == 1
        assert "model.failed" not in kinds(log)


async def test_an_error_that_cannot_be_retried_fails_the_turn(tmp_path: Path) -> None:
    model = ScriptedModel([Answer(error=ErrorData("auth", "the key is wrong")), "fine now"])
    async with running(tmp_path, Agent("a", model=model)) as runtime:
        session = await runtime.session("a")
        with pytest.raises(TurnFailed, match="the key is wrong"):
            await session.ask("hi")
        assert await session.ask("again") == "fine now"


async def test_an_unusable_model_fails_the_turn_with_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    async with running(tmp_path, Agent("a", model="openai/gpt-5-mini")) as runtime:
        session = await runtime.session("a")
        with pytest.raises(TurnFailed, match="OPENAI_API_KEY"):
            await session.ask("hi")


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    ("call", "text", "times"),
    [
        (Call("nothing", {}), "there is no tool 'nothing'", 1),
        (Call("look", '{"what": '), "JSON", 2),
        (Call("look", {"what": 7}), "what", 2),
        (Call("look", {"unknown": 1}), "unknown", 2),
    ],
)
async def test_a_wrong_call_is_data_for_the_model(tmp_path: Path, call: Call, text: str, times: int) -> None:
    """At once, or when it stays wrong after the model was asked for it once more."""
    traces = Traces()
    model = ScriptedModel([*[Answer(calls=(call,))] * times, "sorry"])
    async with running(tmp_path, Agent("a", model=model, tools=traces.tools(), permissions="all")) as runtime:
        session = await runtime.session("a")
        assert await session.ask("hi") == "sorry"
        messages = await runtime.sessions.transcript(session.id)
        (result,) = [message for message in messages if isinstance(message, ToolMessage)]
        assert result.error
        assert isinstance(result.parts[0], Text)
        assert text in result.parts[0].text
        assert traces.done == []


async def test_call_ids_that_a_provider_repeats_are_made_unique(tmp_path: Path) -> None:
    traces = Traces()
    script = [Answer(calls=(Call("look", {}, id="same"),)), Answer(calls=(Call("look", {}, id="same"),)), "end"]
    async with running(tmp_path, agent(script, traces.tools())) as runtime:
        session = await runtime.session("a")
        await session.ask("hi")
        await session.ask("again")
        check_transcript(await runtime.sessions.transcript(session.id))
        assert len(outcomes(await events(session, runtime))) == 4


@pytest.mark.parametrize(("decision", "outcome"), [("approve", "ok"), ("reject", "denied")])
async def test_approval_is_durable(tmp_path: Path, decision: Decision, outcome: str) -> None:
    traces = Traces()
    traces.gate.set()
    asking = agent([calling("safe"), "end"], traces.tools(), permissions="ask")
    async with running(tmp_path, asking) as runtime:
        session = await runtime.session("a")
        await session.send("hi")
        await until(session, ev.ApprovalRequested)
        await asleep(runtime, session)
        assert (await session.inspect()).info.phase == "waiting"
    async with running(tmp_path, asking) as runtime:
        session = runtime.open(session.id)
        (waiting,) = (await session.inspect()).approvals
        assert traces.done == []
        await session.approve(waiting.call, decision, note="because")
        assert (await until(session, ev.TurnCompleted)).outcome == "answered"
        assert set(outcomes(await events(session, runtime)).values()) == {outcome}
        assert traces.done == (["safe"] if decision == "approve" else [])


async def test_read_only_agents_may_not_write(tmp_path: Path) -> None:
    traces = Traces()
    async with running(tmp_path, agent([calling("never"), "ok"], traces.tools(), permissions="read_only")) as runtime:
        session = await runtime.session("a")
        assert await session.ask("hi") == "ok"
        assert set(outcomes(await events(session, runtime)).values()) == {"denied"}
        assert traces.began == []


async def test_a_tool_emits_events_of_its_own(tmp_path: Path) -> None:
    from roost.tools.base import ToolContext

    @tool(replay="safe", safety="read_only")
    async def report(context: ToolContext) -> str:
        """Report progress."""
        for place in range(3):
            await context.emit("progress", place)
        return "reported"

    async with running(tmp_path, agent([calling("report"), "end"], [report])) as runtime:
        session = await runtime.session("a")
        heard: list[object] = []
        session.bus.on(ev.Emitted, lambda event: heard.append(event.data))
        first = asyncio.create_task(session.bus.wait_for(ev.TurnCompleted, after=0, timeout=30))
        await session.ask("hi")
        await session.bus.emit("mine", {"from": "outside"})
        await first
        async with asyncio.timeout(30):
            while len(heard) < 4:
                await asyncio.sleep(0.01)
        assert heard == [0, 1, 2, {"from": "outside"}]
        await session.bus.close()


async def test_context_stays_inside_the_window(tmp_path: Path) -> None:
    sizes: list[int] = []

    def answer(request: object) -> Answer | str:
        sizes.append(sum(len(part.text) for m in request.messages for part in m.parts))  # type: ignore[attr-defined]
        return "word " * 100

    model = ScriptedModel(answer, profile=Profile(window=4000, max_output=500))
    async with running(tmp_path, Agent("a", model=model)) as runtime:
        session = await runtime.session("a")
        for number in range(40):
            await session.ask(f"{number} " + "question " * 50)
        log = await events(session, runtime)
        compacted = [event for event in log if isinstance(event, ContextCompacted)]
        assert 1 < len(compacted) < 20
        assert all(event.after < event.before for event in compacted)
        assert max(sizes) < 4000 * 4
        check_transcript(await runtime.sessions.transcript(session.id))


async def test_bad_creations_are_refused(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        for arguments in ({"agent": "b"}, {"agent": "a", "id": "../x"}, {"agent": "a", "workspace": "/none/there"}):
            with pytest.raises(Invalid):
                await runtime.sessions.create(**arguments)
        session = await runtime.session("a")
        for text in ("", "   ", "\n"):
            with pytest.raises(Invalid):
                await session.send(text)
        with pytest.raises(NotFound):
            await runtime.open("ses_none").send("hi")
    with pytest.raises(ConfigError, match="no_such_tool"):
        runtime.agents.add(Agent("b", tools=["no_such_tool"]))


async def test_a_session_keeps_the_version_it_began_with(tmp_path: Path) -> None:
    first = Agent("a", model=ScriptedModel(by_step(["one"]), name="m1"), instructions="first")
    async with running(tmp_path, first) as runtime:
        session = await runtime.session("a")
        version = (await session.inspect()).info.version
        runtime.agents.add(Agent("a", model=ScriptedModel(by_step(["two"]), name="m1"), instructions="second"))
        other = await runtime.session("a")
        assert (await other.inspect()).info.version != version
        await session.ask("hi")
        log = await events(session, runtime)
        assert isinstance(log[0], ev.SessionCreated)
        assert b"first" in bytes(log[0].spec)


async def test_usage_is_summed(tmp_path: Path) -> None:
    model = ScriptedModel(by_step([Answer(text="x", usage=Usage(10, 5, 2, 700))]), profile=Profile(price=Price(1, 1)))
    async with running(tmp_path, Agent("a", model=model)) as runtime:
        session = await runtime.session("a")
        for _ in range(3):
            await session.ask("hi")
        usage = (await session.inspect()).usage
        assert (usage.input, usage.output, usage.cached) == (30, 15, 6)


async def test_a_question_asked_again_has_its_own_answer_though_the_session_is_stopped(tmp_path: Path) -> None:
    async with running(tmp_path, Agent("a", model=ScriptedModel(["first", "second"]))) as runtime:
        session = await runtime.session("a")
        assert await session.ask("one", key="k") == "first"
        assert await session.ask("two") == "second"
        await session.control("stop")
        assert await session.ask("one", key="k") == "first"
