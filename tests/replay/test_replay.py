"""Replays of sessions that the shipped loop made: recorded answers and tools, another model, and other settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from roost import Agent, Runtime
from roost.agent.definition import Limits
from roost.errors import Conflict, Invalid, NotFound
from roost.features.replay.api import Divergence, Replayed
from roost.log import events as ev
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step
from roost.tools.base import Tool
from roost.tools.function import tool
from tests.kernel.support import calling, running

FILES = [
    Answer(calls=(Call("write_file", {"path": "a.txt", "content": "hello"}),)),
    Answer(calls=(Call("read_file", {"path": "a.txt"}), Call("list_files", {}))),
    "a.txt says hello.",
]


def clerk(answers: Any = FILES, tools: Any = ("write_file", "read_file", "list_files"), **more: Any) -> Agent:
    return Agent("clerk", model=ScriptedModel(by_step(answers)), tools=tools, **more)


class Bell:
    """A tool with an effect outside, which counts its calls."""

    def __init__(self) -> None:
        self.rung: list[str] = []

    @property
    def tool(self) -> Tool:
        @tool(replay="never", safety="high_risk")
        async def ring(where: str) -> str:
            """Ring a bell."""
            self.rung.append(where)
            return f"rang at {where}"

        return ring


async def recorded(runtime: Runtime, *messages: str, agent: str = "clerk") -> str:
    session = await runtime.session(agent)
    for message in messages or ("Go.",):
        await session.ask(message)
    return session.id


def difference(found: Replayed) -> Divergence:
    assert found.divergence is not None, found
    return found.divergence


async def test_the_same_agent_does_the_same(tmp_path: Path) -> None:
    async with running(tmp_path, clerk()) as runtime:
        session = await recorded(runtime, "Write.", "Again.")
        before = [record.body for record in await runtime.sessions.history(session)]
        found = await runtime.replays.run(session)
        assert found.divergence is None
        assert (found.turns, found.steps, found.calls, found.outcome) == (2, 6, 6, "answered")
        assert found.tools[:3] == ["write_file", "read_file", "list_files"]
        assert found.answer == "a.txt says hello."
        assert (found.input_tokens, found.output_tokens) == (600, 120)
        assert [record.body for record in await runtime.sessions.history(session)] == before
        assert len((await runtime.sessions.find(_all())).copy()) == 1


def _all() -> Any:
    from roost.log.protocols import SessionQuery

    return SessionQuery()


async def test_no_recorded_tool_runs(tmp_path: Path) -> None:
    bell = Bell()
    ringing = clerk([calling("ring", where="door"), "Rung."], [bell.tool], permissions="all")
    async with running(tmp_path, ringing) as runtime:
        session = await recorded(runtime)
        assert bell.rung == ["door"]
        assert (await runtime.replays.run(session)).divergence is None
        assert bell.rung == ["door"]


async def test_a_call_that_is_not_in_the_record_is_shown_and_not_run(tmp_path: Path) -> None:
    bell = Bell()
    ringing = clerk([calling("ring", where="door"), "Rung."], [bell.tool], permissions="all")
    answers = [calling("ring", where="fire brigade"), "x"]
    other = Agent("other", model=ScriptedModel(by_step(answers)), tools=[bell.tool], permissions="all")
    async with running(tmp_path, ringing, other) as runtime:
        session = await recorded(runtime)
        one = difference(await runtime.replays.run(session, agent="other"))
        assert (one.kind, one.turn, one.step) == ("call", 1, 1)
        assert '-  "where": "door"' in one.diff
        assert '+  "where": "fire brigade"' in one.diff
        assert bell.rung == ["door"]


async def test_another_model_may_order_and_spell_its_calls_otherwise(tmp_path: Path) -> None:
    again = [
        Answer(calls=(Call("write_file", {"content": "hello", "path": "a.txt"}),)),
        Answer(calls=(Call("list_files", {}),)),
        Answer(calls=(Call("read_file", {"path": "a.txt"}),)),
        "It greets.",
    ]
    other = Agent("other", model=ScriptedModel(by_step(again)), tools=["write_file", "read_file", "list_files"])
    async with running(tmp_path, clerk(), other) as runtime:
        session = await recorded(runtime)
        found = await runtime.replays.run(session, agent="other")
        assert found.divergence is None
        assert (found.steps, found.calls, found.answer, found.model) == (4, 3, "It greets.", "scripted")
        one = difference(await runtime.replays.run(session, agent="other", compare="all"))
        assert (one.kind, one.recorded, one.now) == ("answer", "a.txt says hello.", "It greets.")


async def test_calls_that_are_not_made_any_more(tmp_path: Path) -> None:
    lazy = Agent("lazy", model=ScriptedModel(by_step([FILES[0], "Done."])), tools=["write_file"])
    async with running(tmp_path, clerk(), lazy) as runtime:
        session = await recorded(runtime)
        one = difference(await runtime.replays.run(session, agent="lazy"))
        assert one.kind == "missing"
        assert "read_file, list_files" in one.summary


async def test_a_call_may_be_repeated_as_often_as_in_the_record(tmp_path: Path) -> None:
    often = Agent("often", model=ScriptedModel(by_step([FILES[0], FILES[0], "x"])), tools=["write_file"])
    async with running(tmp_path, clerk(), often) as runtime:
        session = await recorded(runtime)
        one = difference(await runtime.replays.run(session, agent="often"))
        assert (one.kind, one.step) == ("call", 2)


async def test_a_changed_definition_is_a_changed_request(tmp_path: Path) -> None:
    async with running(tmp_path, clerk(instructions="Be brief.\nBe kind.")) as runtime:
        session = await recorded(runtime)
        runtime.agents.add(clerk(instructions="Be brief.\nBe exact."))
        one = difference(await runtime.replays.run(session))
        assert (one.kind, one.step) == ("request", 1)
        assert "-Be kind." in one.diff
        assert "+Be exact." in one.diff
        assert (await runtime.replays.run(session, compare="calls")).divergence is None
        assert (await runtime.replays.run(session, agent="recorded")).divergence is None


async def test_a_policy_that_has_changed(tmp_path: Path) -> None:
    bell = Bell()
    answers = [calling("ring", where="door"), "Rung."]
    async with running(tmp_path, clerk(answers, [bell.tool], permissions="all")) as runtime:
        session = await recorded(runtime)
        runtime.agents.add(clerk(answers, [bell.tool], permissions="read_only"))
        one = difference(await runtime.replays.run(session))
        assert one.kind == "gate"
        assert one.recorded.startswith("allow")
        assert one.now.startswith("deny")


async def test_a_limit_that_has_changed(tmp_path: Path) -> None:
    async with running(tmp_path, clerk(limits=Limits(steps=3))) as runtime:
        session = await recorded(runtime)
        runtime.agents.add(clerk(limits=Limits(steps=2)))
        one = difference(await runtime.replays.run(session))
        assert (one.kind, one.recorded, one.now) == ("end", "answered", "limit: steps")
    async with running(tmp_path, clerk(limits=Limits(steps=2))) as runtime:
        session = (await runtime.session("clerk")).id
        await runtime.sessions.send(session, "Go.")
        await runtime.open(session).bus.wait_for(ev.TurnCompleted)
        assert (await runtime.replays.run(session)).divergence is None
        runtime.agents.add(clerk(limits=Limits(steps=3)))
        one = difference(await runtime.replays.run(session))
        assert (one.kind, one.recorded) == ("end", "limit")


async def test_a_tool_that_the_agent_has_no_more(tmp_path: Path) -> None:
    async with running(tmp_path, clerk()) as runtime:
        session = await recorded(runtime)
        runtime.agents.add(clerk(tools=("write_file", "read_file")))
        one = difference(await runtime.replays.run(session, compare="calls"))
        assert one.kind == "gate"
        assert "has no such tool any more" in one.summary


async def test_what_cannot_be_replayed(tmp_path: Path) -> None:
    async with running(tmp_path, clerk()) as runtime:
        with pytest.raises(NotFound):
            await runtime.replays.run("ses_none")
        empty = await runtime.session("clerk")
        with pytest.raises(Conflict, match="nothing to replay"):
            await runtime.replays.run(empty.id)
        session = await recorded(runtime)
        with pytest.raises(Invalid, match="there is no agent"):
            await runtime.replays.run(session, agent="nobody")
        with pytest.raises(Invalid, match="no session of 'clerk' has its version 'x'"):
            await runtime.replays.run(session, agent="clerk@x")
        with pytest.raises(Invalid, match="belong to live tools"):
            await runtime.replays.run(session, network=True)
        with pytest.raises(Invalid, match="leave out live"):
            await runtime.replays.run(session, tools="live", agent="clerk")


async def test_an_earlier_version_of_an_agent(tmp_path: Path) -> None:
    async with running(tmp_path, clerk(instructions="First.")) as runtime:
        session = await recorded(runtime)
        version = (await runtime.sessions.get(session)).version
        runtime.agents.add(clerk(instructions="Second."))
        found = await runtime.replays.run(session, agent=f"clerk@{version}", compare="all")
        assert (found.divergence, found.version) == (None, version)


async def test_an_agent_that_is_not_here_is_taken_from_the_log(tmp_path: Path) -> None:
    async with running(tmp_path, clerk(tools=[])) as runtime:
        session = await recorded(runtime)
    async with running(tmp_path) as runtime:
        found = await runtime.replays.run(session)
        assert found.divergence is None
        assert "there is no agent 'clerk' here" in found.notes[0]
