"""What a rollback means for facts that others can see: a checkpoint's version of the memory is its place in the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from roost.agent.definition import Agent
from roost.kernel.check import check
from roost.log.content import Text, UserMessage
from roost.memory.rights import Memory
from roost.models.request import Request
from roost.runtime import Runtime
from roost.testing.scripted import Answer, Call, ScriptedModel
from tests.kernel.support import place, running

TEAM = "shared:team"


def keeper(name: str) -> Agent:
    """Keeps what it is told for the team, as `text` or as `key: text`."""

    def say(request: Request) -> Answer | str:
        last = request.messages[-1]
        if not isinstance(last, UserMessage):
            return "kept"
        said = next(part.text for part in last.parts if isinstance(part, Text))
        key, colon, text = said.partition(": ")
        more: dict[str, Any] = {"text": text, "key": key} if colon else {"text": said}
        return Answer(calls=(Call("remember", {"scope": TEAM, **more}),))

    memory = Memory(write=(TEAM,), recall="tool")
    return Agent(name, model=ScriptedModel(say), tools=["remember"], permissions="all", memory=memory)


async def facts(runtime: Runtime) -> list[str]:
    return sorted(fact.text for fact in (await runtime.memory.list(space=TEAM)).facts)


async def test_a_rollback_undoes_what_the_session_wrote_and_nothing_of_others(tmp_path: Path) -> None:
    async with running(tmp_path, keeper("a"), keeper("b")) as runtime:
        one, other = await runtime.session("a"), await runtime.session("b")
        await one.ask("apple of a")
        await one.ask("state: red")
        made = await runtime.checkpoints.make(one.id, "here")
        await other.ask("boat of b")
        await one.ask("lemon of a")
        await one.ask("state: green")
        await other.ask("kite of b")
        await other.ask("owner: bob")
        await one.ask("owner: ann")
        then = ["ann", "apple of a", "boat of b", "green", "kite of b", "lemon of a"]
        assert await facts(runtime) == then

        back = await runtime.checkpoints.rollback(one.id, "here")
        assert back.to == made.seq
        assert await facts(runtime) == ["apple of a", "boat of b", "bob", "kite of b", "red"]
        await runtime.checkpoints.rollback(one.id, undo=True)
        assert await facts(runtime) == then
        await runtime.checkpoints.rollback(one.id, "here")
        await other.ask("state: blue")
        await runtime.checkpoints.rollback(one.id, undo=True)
        assert await facts(runtime) == ["ann", "apple of a", "blue", "boat of b", "kite of b", "lemon of a"]
    assert (await check(place.url or tmp_path / "roost.db")).faults == []


async def test_what_another_has_put_in_the_place_of_a_fact_stays(tmp_path: Path) -> None:
    async with running(tmp_path, keeper("a"), keeper("b")) as runtime:
        one, other = await runtime.session("a"), await runtime.session("b")
        await one.ask("hello of a")
        await runtime.checkpoints.make(one.id, "here")
        await one.ask("state: red")
        await other.ask("state: blue")
        await runtime.checkpoints.rollback(one.id, "here")
        assert await facts(runtime) == ["blue", "hello of a"]
        await runtime.checkpoints.rollback(one.id, undo=True)
        assert await facts(runtime) == ["blue", "hello of a"]
