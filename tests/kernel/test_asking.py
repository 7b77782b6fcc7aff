"""`ask` and `answer` never wait for ever for a person: they raise, or call back."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import pydantic
import pytest

from roost import Agent, AnswerInvalid, Approval, ApprovalNeeded, Runtime, TurnFailed, tool
from roost.doors.turn_reader import TurnReader
from roost.errors import ConfigError
from roost.kernel.turn_watch import Halted
from roost.log import events as ev
from roost.log.session_views import WaitingCall
from roost.policy.loading import Approvals, Policy
from roost.server.turn_stream import TurnStream
from roost.testing.clock import MovedClock
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

from .policies import Notes, found, under, writer
from .support import asleep, calling, events, outcomes, until


async def test_ask_raises_and_the_session_goes_on(tmp_path: Path) -> None:
    notes = Notes()
    async with under(tmp_path, writer(notes)) as runtime:
        session = await runtime.session("a")
        with pytest.raises(ApprovalNeeded, match=r'allow write {"text":"x"}') as caught:
            await session.ask("go")
        needed = caught.value
        assert (needed.waiting.tool, needed.waiting.session) == ("write", session.id)
        with pytest.raises(ApprovalNeeded):
            await session.answer(needed.input)
        await session.approve(needed.waiting.call)
        assert await session.answer(needed.input) == "end"  # also while the answer is still on its way
    assert notes.written == ["x"]


async def awaited(waiting: WaitingCall) -> Approval:
    return Approval(True, arguments={"text": "y", "times": 2})


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    ("answer", "written", "outcome"),
    [
        (lambda waiting: True, ["x"], "ok"),
        (lambda waiting: False, [], "denied"),
        (lambda waiting: Approval(False, "not today"), [], "denied"),
        (awaited, ["yy"], "ok"),
    ],
)
async def test_it_calls_back(tmp_path: Path, answer: Callable[..., Any], written: list[str], outcome: str) -> None:
    notes = Notes()
    asked: list[WaitingCall] = []

    def on_approval(waiting: WaitingCall) -> Any:
        asked.append(waiting)
        return answer(waiting)

    async with under(tmp_path, writer(notes)) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go", on_approval=on_approval) == "end"
        log = await events(session, runtime)
        assert list(outcomes(log).values()) == [outcome]
        (resolved,) = found(log, ev.ApprovalResolved)
        assert resolved.note == ("not today" if resolved.note else None)
    assert [one.arguments for one in asked] == ['{"text":"x"}']
    assert notes.written == written


async def test_a_callback_that_answers_nonsense_raises(tmp_path: Path) -> None:
    async with under(tmp_path, writer(Notes())) as runtime:
        session = await runtime.session("a")
        with pytest.raises(TypeError, match="on_approval returned str"):
            await session.ask("go", on_approval=lambda waiting: "yes")  # pyright: ignore[reportArgumentType]


async def test_with_a_deadline_it_waits_for_that(tmp_path: Path) -> None:
    notes = Notes()
    async with under(tmp_path, writer(notes), Policy(approvals=Approvals(seconds=0.3))) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go") == "end"
    assert notes.written == []


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_plain_tool_is_asked_about(tmp_path: Path) -> None:
    @tool
    def greet(name: str) -> str:
        """Say hello."""
        return f"hello {name}"

    assert greet("you") == "hello you"
    assert greet(name="you") == "hello you"
    agent = Agent("a", model=ScriptedModel(by_step([calling("greet", name="you"), "end"])), tools=[greet])
    async with under(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        with pytest.raises(ApprovalNeeded, match="greet"):
            await session.ask("go")


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_what_is_written_wrong_is_said_where_it_is_written() -> None:
    def plain(name: str) -> str:
        """Return the name."""
        return name

    def unclear(*names: str) -> None: ...

    with pytest.raises(ConfigError, match=r"permissions='everything' is none of .*'all'"):
        Agent("a", permissions="everything")  # pyright: ignore[reportArgumentType]
    assert Agent("a", tools=[plain]).python.tools["plain"].function is plain
    with pytest.raises(ConfigError, match="'unclear' cannot be a tool"):
        Agent("a", tools=[unclear])
    with pytest.raises(ConfigError, match="3 is no tool"):
        Agent("a", tools=[3])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_session_that_is_set_aside_answers_its_callers(tmp_path: Path, clock: MovedClock) -> None:
    """A damaged row of its inbox leaves no event in its log, so those who wait look at the session itself."""
    agent = Agent("a", model=ScriptedModel(lambda _: "done"))
    async with Runtime(tmp_path / "home", agents=[agent]) as runtime:
        session = await runtime.session("a")
        await session.control("pause")
        await asleep(runtime, session)
        item = (await session.send("hello")).id
        waits = asyncio.create_task(session.answer(item))
        stream, reader = (kind(runtime.sessions, session.id, item) for kind in (TurnStream, TurnReader))
        assert (await stream.cut([]), await reader.read([])) == (([], False, None), [])
        with contextlib.closing(sqlite3.connect(tmp_path / "home" / "roost.db")) as store:
            store.execute("UPDATE inbox SET body = x'00' WHERE id = ?", (item,))
            store.commit()
        await session.control("resume")
        with pytest.raises(TurnFailed, match="the session is error"):
            await clock.hurry(waits)
        (_, ends, problem), (halted,) = await stream.cut([]), await reader.read([])
        assert ends
        assert problem is not None
        assert (problem.code, halted) == ("session_error", Halted("error", None))


class Trip(pydantic.BaseModel):
    city: str
    days: int = pydantic.Field(gt=0)


@dataclasses.dataclass
class Leg:
    start: str
    next: Leg | None = None


class Stay(TypedDict):
    nights: int


@pytest.mark.parametrize(
    ("kind", "said", "wanted"),
    [
        (Trip, ['{"city":"Ghent","days":2}'], Trip(city="Ghent", days=2)),
        (Trip, ["I think two", '{"city":"Ghent","days":0}', '{"city":"Ghent","days":2}'], Trip(city="Ghent", days=2)),
        (Leg, ['```json\n{"start":"a","next":{"start":"b"}}\n```'], Leg("a", Leg("b"))),
        (Stay, ['{"nights":"two"}', '{"nights":2}'], {"nights": 2}),
    ],
)
async def test_an_answer_is_an_object_and_the_model_corrects_it(
    tmp_path: Path, kind: type[Any], said: list[str], wanted: object
) -> None:
    model = ScriptedModel([*said, "as you like"])
    async with under(tmp_path, Agent("a", model=model)) as runtime:
        session = await runtime.session("a")
        assert await session.ask("where?", answer=kind) == wanted
        assert await session.ask("and now?") == "as you like"
    asked = [request.output_schema for request in model.requests]
    assert [schema is None for schema in asked] == [False] * len(said) + [True]
    assert asked[0] is not None
    assert asked[0]["type"] == "object"


async def test_an_answer_that_never_fits_is_an_error_with_its_text(tmp_path: Path) -> None:
    async with under(tmp_path, Agent("a", model=ScriptedModel(["no", "still no", "never"]))) as runtime:
        session = await runtime.session("a")
        with pytest.raises(AnswerInvalid, match="does not fit") as wrong:
            await session.ask("where?", answer=Trip)
        assert wrong.value.text == "never"
        with pytest.raises(TypeError, match="give a class with fields"):
            await session.ask("where?", answer=list[int])


async def test_the_text_is_told_as_it_is_written_and_once(tmp_path: Path) -> None:
    notes, told = Notes(), list[str]()
    script = ScriptedModel(
        by_step([Answer(text="Let me write. ", calls=(Call("write", {"text": "x"}),)), "It is done."])
    )
    async with under(tmp_path, writer(notes, model=script, permissions="all")) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go", on_delta=told.append) == "It is done."
        assert await session.ask("again", on_delta=lambda _: None)
    assert "".join(told) == "Let me write. It is done."


async def test_a_schema_counts_for_its_message_alone_also_when_the_program_ends(tmp_path: Path) -> None:
    slow = ScriptedModel([Answer(text="never said", delay=60.0)])
    async with under(tmp_path, Agent("a", model=slow)) as runtime:
        session = await runtime.session("a")
        asking = asyncio.create_task(session.ask("where?", answer=Trip))
        await until(session, ev.ModelStarted)
        await runtime.stop(grace=0.0)  # as a program that dies: nobody takes anything back
        asking.cancel()
        await asyncio.wait([asking])
    model = ScriptedModel(['{"city":"Ghent","days":2}', "as you like"])
    async with under(tmp_path, Agent("a", model=model)) as runtime:
        session = runtime.open(session.id)
        await until(session, ev.TurnCompleted)
        assert await session.ask("and now?") == "as you like"
    assert [request.output_schema is not None for request in (*slow.requests, *model.requests)] == [True, True, False]


async def test_a_runtime_that_is_not_started_says_so(tmp_path: Path) -> None:
    runtime = Runtime(tmp_path)
    with pytest.raises(RuntimeError, match="not started"):
        await runtime.session("a")
    with pytest.raises(RuntimeError, match="not started"):
        _ = runtime.rules
    assert not hasattr(runtime, "sesion")
