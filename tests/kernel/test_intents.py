"""What a turn is about: which tools there are in it, and what waits for a person's yes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roost.agent.agent_files import load_agents
from roost.agent.definition import Agent, AgentSpec, decode_spec, encode_spec
from roost.agent.options import CHAT, CREATE_PROJECT, DEBUG, IntentRule
from roost.errors import Conflict
from roost.features.intents.choice import choose
from roost.features.intents.events import IntentChosen
from roost.log import events as ev
from roost.policy.loading import Approvals, Policy
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

from .policies import found, under
from .support import Traces, asleep, events, kinds, outcomes, running, until

pytestmark = pytest.mark.one_on_postgres

ALL = ("create_project", "debug", "chat")


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("said", "intent", "word"),
    [
        ("Please create a new   project for me", "create_project", "new project"),
        ("SCAFFOLD it", "create_project", "scaffold"),
        ("please fix the login", "debug", "fix"),
        ("prefix and suffix", "chat", None),
        ("debugging", "chat", None),
        ("the build (fails)!", "debug", "fails"),
        ("请调试这个程序", "debug", "调试"),
        ("", "chat", None),
    ],
)
def test_words_tell_it(said: str, intent: str, word: str | None) -> None:
    chosen = choose(ALL, said)
    assert chosen is not None
    assert (chosen[0].name, chosen[1]) == (intent, word)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_the_first_that_fits_counts() -> None:
    mine = IntentRule(name="mine", words=("fix",))
    assert choose((mine, "debug"), "fix the bug") == (mine, "fix")
    assert choose(("debug",), "hello") is None
    assert choose((), "fix") is None


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_they_are_data(tmp_path: Path) -> None:
    rule = IntentRule(name="deploy", words=("deploy",), tools=("read_*",), confirm=True, calls="execute")
    spec = AgentSpec(name="a", intents=("chat", rule))
    assert decode_spec(encode_spec(spec)) == spec
    assert AgentSpec(name="a").version == AgentSpec(name="a", intents=()).version
    table = '[[intents]]\nname = "deploy"\nwords = ["deploy"]\ntools = ["read_*"]\nconfirm = true\ncalls = "execute"\n'
    (tmp_path / "one.toml").write_text(table)
    (tmp_path / "two.toml").write_text('intents = ["create_project", "debug", "chat"]\n')
    one, two = load_agents([tmp_path])
    assert (one.spec.intents, two.spec.intents) == ((rule,), ALL)
    with pytest.raises(msgspec.ValidationError, match="must not be empty"):
        msgspec.convert({"name": "x", "words": [" "]}, IntentRule)


def clerk(*answers: Answer | str, intents: Any = ALL) -> Agent:
    tools = ("read_file", "shell", "write_file")
    return Agent("a", model=ScriptedModel(by_step(answers)), tools=tools, permissions="all", intents=intents)


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(("said", "shown"), [("hello", ["look"]), ("deploy it", ["look"]), ("the bug", ["look"])])
async def test_tools_of_ones_own_are_told_by_their_safety(tmp_path: Path, said: str, shown: list[str]) -> None:
    deploy = IntentRule(name="deploy", words=("deploy",), tools=("safety:read_*",))
    tools = [one for one in Traces().tools() if one.name in ("look", "safe")]
    agent = Agent("a", model=ScriptedModel(["end"]), tools=tools, intents=(deploy, "debug", "chat"))
    model: Any = agent.python.model
    async with running(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        assert await session.ask(said) == "end"
    assert [one.name for one in model.requests[0].tools] == shown


async def test_a_turn_has_its_tools_and_no_others(tmp_path: Path) -> None:
    shell = Answer(calls=(Call("shell", {"command": "touch here"}), Call("read_file", {"path": "none"})))
    agent = clerk(shell, "end")
    model: Any = agent.python.model
    async with running(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        assert await session.ask("how are you?") == "end"
        assert await session.ask("it fails") == "end"
        log = await events(session, runtime)
    shown = [tuple(tool.name for tool in request.tools) for request in model.requests]
    assert shown == [("read_file",)] * 2 + [("read_file", "shell", "write_file")] * 2
    assert [request.intent for request in model.requests] == ["chat", "chat", "execute", "execute"]
    chosen = found(log, IntentChosen)
    assert [(event.turn, event.intent, event.word) for event in chosen] == [(1, "chat", None), (2, "debug", "fails")]
    assert chosen[0].tools == ("read_file",)
    ran = [event.name for event in found(log, ev.ToolStarted)]
    assert sorted(ran) == ["read_file", "read_file", "shell"]
    told = [event.parts[0].text for event in found(log, ev.ToolCompleted)]
    assert "there is no tool 'shell'; the tools are: read_file" in told


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_without_intents_nothing_changes(tmp_path: Path) -> None:
    agent = clerk("end", intents=())
    model: Any = agent.python.model
    async with running(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        await session.ask("it fails")
        assert "intent.chosen" not in kinds(await events(session, runtime))
    assert len(model.requests[0].tools) == 3
    assert model.requests[0].intent is None


async def test_a_project_waits_for_a_yes(tmp_path: Path) -> None:
    """Through sleep and another process; only the first answer counts."""
    agent = clerk("made")
    model: Any = agent.python.model
    async with running(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        accepted = await session.send("a new project, please")
        asked = await until(session, ev.ApprovalRequested)
        assert (asked.call, asked.name, asked.why) == ("turn:1", "create_project", "intent: create_project")
        await asleep(runtime, session)
        view = await session.inspect()
        assert (view.info.phase, [one.call for one in view.approvals]) == ("waiting", ["turn:1"])
        assert model.calls == 0
    async with running(tmp_path, agent) as runtime:
        session = runtime.open(session.id)
        with pytest.raises(Conflict):
            await session.approve("turn:2", "approve")
        await session.approve("turn:1", "approve")
        assert await session.answer(accepted.id) == "made"
        with pytest.raises(Conflict):
            await session.approve("turn:1", "reject")
        log = await events(session, runtime)
        assert len(found(log, IntentChosen)) == len(found(log, ev.ApprovalRequested)) == 1
        assert (await session.inspect()).approvals == ()


async def test_a_no_ends_the_turn_before_it_costs_anything(tmp_path: Path) -> None:
    agent = clerk("made")
    model: Any = agent.python.model
    async with running(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        await session.send("a new project, please")
        await session.send("hello")
        await until(session, ev.ApprovalRequested)
        await session.approve("turn:1", "reject", note="later")
        done = await until(session, ev.TurnCompleted)
        assert (done.outcome, done.reason, done.steps) == ("cancelled", "a person said no: later", 0)
        while len(found(await events(session, runtime), ev.TurnCompleted)) < 2:
            await asyncio.sleep(0.02)
        log = await events(session, runtime)
    assert model.calls == len(found(log, ev.ModelStarted)) == 1


@pytest.mark.parametrize("how", ["cancel", "stop", "pause"])
async def test_control_reaches_one_that_waits(tmp_path: Path, how: Any) -> None:
    agent = clerk("made")
    policy = Policy(approvals=Approvals(seconds=60.0))
    async with under(tmp_path, agent, policy) as runtime:
        session = await runtime.session("a")
        accepted = await session.send("a new project, please")
        await until(session, ev.ApprovalRequested)
        assert list((await session.inspect()).timers) == ["approval:turn:1"]
        await session.control(how)
        if how == "pause":
            await session.control("resume")
            await session.approve("turn:1", "approve")
            assert await session.answer(accepted.id) == "made"
        log = await events(session, runtime)
        (done,) = found(log, ev.TurnCompleted)
        assert done.outcome == ("answered" if how == "pause" else "cancelled")
        assert (await session.inspect()).timers == {}


async def test_nobody_says_anything(tmp_path: Path) -> None:
    async with under(tmp_path, clerk("made"), Policy(approvals=Approvals(seconds=0.3))) as runtime:
        session = await runtime.session("a")
        await session.send("a new project, please")
        done = await until(session, ev.TurnCompleted)
        assert (done.outcome, done.reason) == ("cancelled", "a person said no: nobody answered within 0.3 seconds")


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_call_is_not_early_where_there_is_no_such_tool(tmp_path: Path) -> None:
    traces = Traces()
    model = ScriptedModel(by_step([Answer(calls=(Call("look", {"what": "a"}),)), "end"]), deltas=True)
    only = IntentRule(name="none", tools=())
    agent = Agent("a", model=model, tools=traces.tools(), permissions="all", intents=(only,))
    async with running(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go") == "end"
        log = await events(session, runtime)
    assert traces.done == []
    assert set(outcomes(log).values()) == {"error"}
    assert (CHAT.confirm, DEBUG.confirm, CREATE_PROJECT.confirm) == (False, False, True)
