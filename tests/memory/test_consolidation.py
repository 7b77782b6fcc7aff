"""What is worth keeping of the last turns becomes facts, for a person's yes or to be undone, and is paid for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from roost.agent.consolidating import read_answer
from roost.agent.definition import Agent
from roost.kernel.runtime import Runtime, SessionHandle
from roost.llm.ir import Request
from roost.log import events as ev
from roost.log.content import Text, UserMessage
from roost.memory.rights import Consolidate, Memory
from roost.testing.scripted import Answer, ScriptedModel
from tests.kernel.support import asleep, events, running

_FACTS = [
    {"text": "Ann drinks oolong", "category": "preference", "key": "drink"},
    {"text": "The office is in Oslo"},
    {"text": ""},
    {"category": "fact"},
    "nonsense",
]


def scripted(said: str, asked: list[str]) -> ScriptedModel:
    def answer(request: Request) -> Answer | str:
        last = request.messages[-1]
        assert isinstance(last, UserMessage)
        text = "".join(part.text for part in last.parts if isinstance(part, Text))
        if not text.startswith("[This is not from the user.]"):
            return "yes"
        asked.append(text)
        return said

    return ScriptedModel(answer)


def clerk(said: str = "", asked: list[str] | None = None, **more: Any) -> Agent:
    settings = Consolidate(turns=2, **more)
    text = said or "Here it is:\n```json\n" + json.dumps(_FACTS) + "\n```"
    model = scripted(text, [] if asked is None else asked)
    return Agent("a", model=model, memory=Memory(consolidate=settings))


async def two_turns(runtime: Runtime) -> SessionHandle:
    session = await runtime.session("a", labels={"user": "ann"})
    await session.ask("I drink oolong")
    await session.ask("Our office is in Oslo")
    await session.bus.wait_for(ev.MemoryConsolidated, after=0, timeout=10)
    return session


async def test_after_so_many_turns_facts_are_kept(tmp_path: Path) -> None:
    asked: list[str] = []
    async with running(tmp_path, clerk(asked=asked)) as runtime:
        session = await two_turns(runtime)
        found = await runtime.memories.list(["user:ann"])
        assert sorted(fact.text for fact in found) == ["Ann drinks oolong", "The office is in Oslo"]
        log = await events(session, runtime)
        (done,) = [event for event in log if isinstance(event, ev.MemoryConsolidated)]
        assert (done.upto, done.facts, done.error) == (2, 2, None)
        assert done.usage.output > 0
        view = await runtime.sessions.inspect(session.id)
        assert view.usage.output > sum(e.usage.output for e in log if isinstance(e, ev.ModelCompleted))
        await session.ask("one more")
        await asleep(runtime, session)
        assert len(asked) == 1
        await session.ask("and one")
        await asleep(runtime, session)
        assert len(asked) == 2
        assert "since turn 3" in asked[1]
        assert len(await runtime.memories.list(["user:ann"])) == 2, "what is known is not kept twice"


async def test_it_is_undone_by_its_events(tmp_path: Path) -> None:
    async with running(tmp_path, clerk()) as runtime:
        await runtime.memories.add("user:ann", "Ann drinks mate", key="drink")
        session = await two_turns(runtime)
        log = await events(session, runtime)
        first = next(place for place, event in enumerate(log) if isinstance(event, ev.ConsolidationStarted))
        assert await runtime.memories.undo(session.id, first) == 3
        assert [fact.text for fact in await runtime.memories.list(["user:ann"])] == ["Ann drinks mate"]


async def test_with_review_a_person_decides(tmp_path: Path) -> None:
    async with running(tmp_path, clerk(review=True)) as runtime:
        await runtime.memories.add("user:ann", "Ann drinks mate", key="drink")
        await two_turns(runtime)
        assert [fact.text for fact in await runtime.memories.list(["user:ann"])] == ["Ann drinks mate"]
        waiting = {fact.text: fact.id for fact in await runtime.memories.review()}
        assert len(waiting) == 2
        await runtime.memories.accept(waiting["Ann drinks oolong"])
        await runtime.memories.reject(waiting["The office is in Oslo"])
        assert await runtime.memories.review() == []
        assert [fact.text for fact in await runtime.memories.list(["user:ann"])] == ["Ann drinks oolong"]


async def test_a_useless_answer_changes_nothing_and_is_told(tmp_path: Path) -> None:
    async with running(tmp_path, clerk("I have no idea")) as runtime:
        session = await two_turns(runtime)
        (done,) = [event for event in await events(session, runtime) if isinstance(event, ev.MemoryConsolidated)]
        assert done.error == "the model did not answer with a list"
        assert await session.ask("go on") == "yes"
        assert await runtime.memories.list() == []


@pytest.mark.parametrize(
    ("text", "count"), [("[]", 0), ('x [{"text": "a"}] y', 1), ('[{"text": 1}, {"text": "b", "category": "odd"}]', 0)]
)
def test_answers_are_read_with_patience(text: str, count: int) -> None:
    told = read_answer(text)
    assert told.error is None
    assert len(told.facts) == count
