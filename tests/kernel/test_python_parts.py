"""An agent with hooks, guardrails and tools in Python runs only where these are known: every check fails closed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from roost.agent.definition import Agent, AgentSpec
from roost.kernel.placement import PartsUnknown
from roost.log import events as ev
from roost.policy.guardrails import LengthGuard
from roost.policy.hooks import Moment, PythonHook
from roost.runtime import Runtime
from roost.testing.scripted import Answer, ScriptedModel, by_step

from .policies import Notes, found
from .support import FAST, asleep, calling, events, place


def no(moment: Moment) -> bool:
    return False


def guarded(notes: Notes) -> Agent:
    model = ScriptedModel(by_step([calling("write", text="x"), "end"]))
    hook = PythonHook(no, on=["pre_tool"])
    guard = LengthGuard(1000, name="short")
    return Agent("a", model=model, tools=notes.tools(), permissions="all", hooks=[hook], guardrails=[guard])


def bare(notes: Notes) -> Agent:
    """The same without its checks, as a node with an older file has it."""
    model = ScriptedModel(by_step([calling("write", text="x"), "end"]))
    return Agent("a", model=model, tools=notes.tools(), permissions="all")


@contextlib.asynccontextmanager
async def node(home: Path, *agents: Agent) -> AsyncGenerator[Runtime]:
    runtime = Runtime(home, agents=agents, config=FAST, store=place.url)
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.stop(grace=0.2)


@pytest.mark.parametrize("other", [None, bare])
async def test_a_runtime_that_does_not_know_the_checks_runs_nothing(
    tmp_path: Path, other: Callable[[Notes], Agent] | None
) -> None:
    notes = Notes()
    async with node(tmp_path / "home", guarded(notes)) as one:
        session = await one.session("a")
    async with node(tmp_path / "home", *([] if other is None else [other(notes)])) as two:
        there = two.open(session.id)
        accepted = await there.send("go")
        unknown = (await there.inspect()).unknown
        assert "the hook or guardrail 'no' of agent 'a'" in unknown
        assert "the hook or guardrail 'short' of agent 'a'" in unknown
        with pytest.raises(PartsUnknown, match="roost agents move"):
            await there.ask("go on")
        with pytest.raises(PartsUnknown) as caught:
            await there.answer(accepted.id)
        assert caught.value.code == "agent_parts_unknown"
        assert not found(await events(there, two), ev.TurnStarted)
        async with node(tmp_path / "home", guarded(notes)) as one:  # one that knows them runs it, beside the other
            assert await one.open(session.id).answer(accepted.id) == "end"
            assert (await there.inspect()).unknown == ()
            log = await events(there, two)
            assert {event.outcome for event in found(log, ev.ToolCompleted)} == {"denied"}
    assert notes.written == []


async def test_a_node_whose_agent_lost_its_checks_gives_the_session_back(tmp_path: Path) -> None:
    notes = Notes()
    async with node(tmp_path / "home", guarded(notes)) as runtime:
        session = await runtime.session("a")
        await asleep(runtime, session)
        runtime.agents.add(bare(notes))  # it still offers what it offered with its last beat
        await session.send("go")
        with pytest.raises(PartsUnknown):
            await session.ask("again")
        assert not found(await events(session, runtime), ev.TurnStarted)
        assert (await runtime.sessions.get(session.id)).state != "error"
    assert notes.written == []


async def test_every_copy_of_an_agent_keeps_its_checks(tmp_path: Path) -> None:
    agent = guarded(Notes())
    async with node(tmp_path / "home", agent) as runtime:
        variants = [
            await runtime.sessions.named("a", model="openai/other"),
            runtime.sessions.variant("a", definition=agent.spec.replace(tools=())),
            runtime.sessions.variant("a", definition=agent.spec, model="openai/other"),
        ]
        for variant in variants:
            assert variant.python.checks == ("no", "short")
            tags = runtime.node.membership.needs(variant, None)
            assert {"check:a/no", "check:a/short"} <= set(tags)
        session = await runtime.session("a")
        fork = await runtime.checkpoints.fork(session.id)
        assert {"check:a/no", "check:a/short"} <= set(fork.needs)


async def test_a_definition_that_names_the_python_model_runs_where_it_is_known(tmp_path: Path) -> None:
    agent = Agent("a", model=ScriptedModel(lambda _: Answer(text="x"), name="mine"))
    async with node(tmp_path / "home", agent) as runtime:
        for definition, model in ((AgentSpec(name="a"), "mine"), (AgentSpec(name="a", model="mine"), None)):
            variant = runtime.sessions.variant("a", definition=definition, model=model)
            assert variant.python.model is agent.python.model
            assert runtime.node.membership.needs(variant, None)
