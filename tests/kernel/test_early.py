"""Calls that only read begin while the model still speaks: what that saves, and that nothing else changes by it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest

from roost.agent.definition import Agent, Limits
from roost.log import events as ev
from roost.log.content import StopReason, Text, ToolCall, ToolMessage, Usage
from roost.models.request import CallDelta, Completed, ModelEvent, Notice, Profile, Request, TextDelta
from roost.policy.hooks import Answer as Judged
from roost.policy.hooks import Moment, PythonHook, When
from roost.policy.rules import Rule, Touches
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply
from roost.testing.clock import MovedClock
from roost.testing.scripted import Call
from roost.tools.base import Tool, ToolContext
from roost.tools.function import tool

from .policies import found
from .support import events, kinds, outcomes, running, until

pytestmark = pytest.mark.one_on_postgres

Step = ModelEvent | asyncio.Event


class Told:
    """A model that says exactly these events, answer by answer, waiting where there is an `asyncio.Event`."""

    name = "told"

    def __init__(self, *answers: Sequence[Step]) -> None:
        self.profile = Profile()
        self.answers = answers
        self.requests: list[Request] = []

    async def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        self.requests.append(request)
        for step in self.answers[min(len(self.requests), len(self.answers)) - 1]:
            if isinstance(step, asyncio.Event):
                await step.wait()
            else:
                yield step

    async def close(self) -> None:
        pass


class Eyes:
    """Tools that read, and what became of their calls."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.done: list[str] = []
        self.cut: list[str] = []
        self.keys: list[str] = []
        self.now = self.most = 0
        self.go = asyncio.Event()
        self.seen = asyncio.Event()

    def tools(self) -> list[Tool]:
        @tool(replay="safe", safety="read_only")
        async def look(context: ToolContext, what: str = "x") -> str:
            """Look at something, for as long as the test wants."""
            self.began.append(what)
            self.keys.append(context.key)
            self.now += 1
            self.most = max(self.most, self.now)
            self.seen.set()
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cut.append(what)
                raise
            finally:
                self.now -= 1
            self.done.append(what)
            return f"saw {what}"

        @tool(replay="safe", safety="read_only")
        async def tell(context: ToolContext) -> str:
            """Put an event of its own into the log."""
            self.began.append("tell")
            await context.emit("told", context.call)
            return "told"

        return [look, tell]


def made(*calls: tuple[str, str], stop: StopReason = "tool_calls") -> Completed:
    parts = tuple(ToolCall(f"c{place}", name, text) for place, (name, text) in enumerate(calls))
    return Completed((Text("now"), *parts), stop, Usage(10, 5))


def piece(index: int, text: str, name: str | None = None) -> CallDelta:
    return CallDelta(index, text, name)


END = [Completed((Text("end"),), "end", Usage(10, 5))]
LOOK = '{"what":"a"}'


def agent(model: Told, tools: Sequence[Tool | str], **more: Any) -> Agent:
    return Agent("a", model=model, tools=tools, permissions=more.pop("permissions", "all"), **more)


def started(log: list[ev.Event]) -> list[tuple[str, bool]]:
    return [(event.call, event.early) for event in log if isinstance(event, ev.ToolStarted)]


def dropped(log: list[ev.Event]) -> list[int]:
    return [event.data["dropped"] for event in log if isinstance(event, ev.ModelNotice) and event.kind == "early"]


async def test_a_slow_look_takes_no_time_of_its_own(tmp_path: Path) -> None:
    spoiled: list[object] = []
    while len(spoiled) < 4:  # by a machine that stands still
        before, after = await _times(tmp_path / str(len(spoiled)))
        # The stream goes on for nearly a second.
        if before[False] < 0 < 0.5 < before[True] and after[True] < 0.6 < 0.99 < after[False]:
            return
        spoiled.append((before, after))
    raise AssertionError(spoiled)


async def _times(folder: Path) -> tuple[dict[bool, float], dict[bool, float]]:
    """Early or not: how long before the answer's end a look that takes a second began, how long after it, it ended."""
    began: list[float] = []

    async def slow(what: str = "x") -> str:
        """Look for a second."""
        began.append(time.time())
        await asyncio.sleep(1.0)
        return f"saw {what}"

    after: dict[bool, float] = {}
    before: dict[bool, float] = {}
    speech = Reply(calls=(Call("slow", {"what": "a"}), Call("nothing", {"what": "b" * 150})), pace=0.03, piece=5)
    with ProviderServer(lambda body: Reply(text="end") if _answered(body) else speech) as server:
        for early in (True, False):
            one = tool(replay="safe", safety="read_only", early=early)(slow)
            teller = Agent("a", model=f"{server.url}#scripted", tools=[one], permissions="all")
            async with running(folder / str(early), teller) as runtime:
                session = await runtime.session("a")
                await session.send("go")
                await until(session, ev.TurnCompleted)
                log = await events(session, runtime)
            spoken = found(log, ev.ModelCompleted)[0].at
            before[early] = spoken - began[-1]
            after[early] = max(event.at for event in found(log, ev.ToolCompleted)) - spoken
            assert [how for _, how in started(log)] == [early]
            assert list(outcomes(log).values()).count("ok") == 1
    return before, after


def _answered(body: dict[str, Any]) -> bool:
    return any(message.get("role") == "tool" for message in body["messages"])


async def test_its_result_is_used_when_the_answer_has_the_call(tmp_path: Path) -> None:
    """Whole in one piece, in pieces, and said with other spaces than in the answer."""
    eyes, more = Eyes(), asyncio.Event()
    said = [piece(0, LOOK, "look"), piece(1, "", "look"), piece(1, '{"wh'), piece(1, 'at": "b"}')]
    model = Told([*said, more, made(("look", LOOK), ("look", '{"what":"b"}'))], END)
    async with running(tmp_path, agent(model, eyes.tools())) as runtime:
        session = await runtime.session("a")
        await session.send("go")
        await eyes.seen.wait()
        eyes.go.set()
        while len(eyes.done) < 2:
            await asyncio.sleep(0.01)
        assert "tool.started" not in kinds(await events(session, runtime))
        more.set()
        await until(session, ev.TurnCompleted)
        log = await events(session, runtime)
    assert eyes.began == ["a", "b"]
    assert outcomes(log) == {"c0": "ok", "c1": "ok"}
    assert started(log) == [("c0", True), ("c1", True)]
    assert [event.key for event in found(log, ev.ToolStarted)] == eyes.keys
    assert [event.parts[0].text for event in found(log, ev.ToolCompleted)] == ["saw a", "saw b"]
    assert dropped(log) == []


async def test_one_that_still_runs_is_waited_for(tmp_path: Path) -> None:
    eyes = Eyes()
    model = Told([piece(0, LOOK, "look"), eyes.seen, made(("look", LOOK), ("tell", "{}"))], END)
    async with running(tmp_path, agent(model, eyes.tools())) as runtime:
        session = await runtime.session("a")
        await session.send("go")
        await until(session, ev.ToolStarted)  # for who watches: it is told before it ends
        eyes.go.set()
        await until(session, ev.TurnCompleted)
        log = await events(session, runtime)
    assert eyes.began == ["a", "tell"]
    assert started(log) == [("c0", True), ("c1", False)]
    assert outcomes(log) == {"c0": "ok", "c1": "ok"}


async def test_a_call_that_the_answer_does_not_have_leaves_only_a_count(tmp_path: Path) -> None:
    eyes = Eyes()
    model = Told([piece(0, LOOK, "look"), eyes.seen, made(("look", '{"what":"other"}'))], END)
    async with running(tmp_path, agent(model, eyes.tools())) as runtime:
        session = await runtime.session("a")
        await session.send("go")
        while eyes.began != ["a", "other"]:
            await asyncio.sleep(0.01)
        eyes.go.set()
        await until(session, ev.TurnCompleted)
        log = await events(session, runtime)
    assert eyes.cut == ["a"]
    assert started(log) == [("c0", False)]
    assert dropped(log) == [1]


async def test_what_was_said_before_an_answer_began_again_does_not_count(tmp_path: Path) -> None:
    eyes, again = Eyes(), asyncio.Event()
    said = [piece(0, LOOK, "look"), eyes.seen, Notice("restart"), piece(0, '{"what":"b"}', "look"), again]
    model = Told([*said, made(("look", '{"what":"b"}'))], END)
    async with running(tmp_path, agent(model, eyes.tools())) as runtime:
        session = await runtime.session("a")
        await session.send("go")
        while eyes.began != ["a", "b"] or eyes.cut != ["a"]:
            await asyncio.sleep(0.01)
        eyes.go.set()
        again.set()
        await until(session, ev.TurnCompleted)
        log = await events(session, runtime)
    assert started(log) == [("c0", True)]
    assert dropped(log) == [1]
    assert len(set(eyes.keys)) == 2


def changing(eyes: Eyes, **kind: Any) -> Tool:
    async def change() -> str:
        eyes.began.append("change")
        return "changed"

    return tool(description="Change something.", **kind)(change)


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    "kind",
    [
        {"safety": "safe_write", "replay": "safe"},
        {"safety": "destructive", "replay": "safe"},
        {"safety": "high_risk", "replay": "safe"},
        {"safety": "read_only", "replay": "never"},
        {"safety": "read_only", "replay": "ask"},
        {"safety": "read_only", "replay": "safe", "early": False},
        {"safety": "read_only", "replay": "safe", "taints": True},
        {"safety": "read_only", "replay": "safe", "reach": lambda given, place: Touches(hosts=("example.org",))},
    ],
)
async def test_nothing_else_begins_early(tmp_path: Path, kind: dict[str, Any]) -> None:
    eyes, more = Eyes(), asyncio.Event()
    said = [piece(0, LOOK, "look"), piece(1, "{}", "change"), more]
    model = Told([*said, made(("look", LOOK), ("change", "{}"))], END)
    async with running(tmp_path, agent(model, [*eyes.tools(), changing(eyes, **kind)])) as runtime:
        session = await runtime.session("a")
        await session.send("go")
        await eyes.seen.wait()
        eyes.go.set()
        await asyncio.sleep(0.05)
        assert eyes.began == ["a"]
        more.set()
        await until(session, ev.TurnCompleted)
        log = await events(session, runtime)
    assert set(started(log)) == {("c0", True), ("c1", False)}


@pytest.mark.parametrize("safety", ["safe_write", "destructive"])
async def test_what_is_read_behind_a_change_is_read_after_it(tmp_path: Path, safety: Any) -> None:
    eyes, more = Eyes(), asyncio.Event()
    eyes.go.set()
    said = [piece(0, LOOK, "look"), piece(1, "{}", "change"), piece(2, '{"what": "b"}', "look"), more]
    model = Told([*said, made(("look", LOOK), ("change", "{}"), ("look", '{"what": "b"}'))], END)
    async with running(
        tmp_path, agent(model, [*eyes.tools(), changing(eyes, safety=safety, replay="safe")])
    ) as runtime:
        session = await runtime.session("a")
        await session.send("go")
        await eyes.seen.wait()
        await asyncio.sleep(0.05)
        assert eyes.began == ["a"]
        more.set()
        await until(session, ev.TurnCompleted)
        log = await events(session, runtime)
    assert eyes.began == ["a", "change", "b"]
    assert started(log) == [("c0", True), ("c1", False), ("c2", False)]


def judge(on: When, **more: Any) -> PythonHook:
    return PythonHook(lambda moment: Judged(), on=(on,), name="mine", **more)


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    ("more", "early"),
    [
        ({"hooks": [judge("pre_tool")]}, False),
        ({"hooks": [judge("post_model")]}, False),
        ({"hooks": [judge("pre_tool", tool="tell")]}, True),
        ({"rules": [Rule(effect="ask", tool="look")]}, False),
        ({"rules": [Rule(effect="deny", tool="look")]}, False),
    ],
)
async def test_whoever_has_a_say_has_it_first(tmp_path: Path, more: dict[str, Any], early: bool) -> None:
    eyes, whole = Eyes(), asyncio.Event()
    model = Told([piece(0, LOOK, "look"), whole, made(("look", LOOK))], END)
    async with running(tmp_path, agent(model, eyes.tools(), **more)) as runtime:
        session = await runtime.session("a")
        await session.send("go")
        await until(session, ev.ModelStarted)
        await (eyes.seen.wait() if early else asyncio.sleep(0.1))
        assert eyes.began == (["a"] if early else [])


async def test_a_hook_after_it_judges_its_result(tmp_path: Path) -> None:
    eyes, heard = Eyes(), list[str]()

    def withhold(moment: Moment) -> Judged:
        heard.append(moment.call or "")
        return Judged(decision="deny", reason="secret")

    hooks = [PythonHook(withhold, on=("post_tool",), name="mine")]
    model = Told([piece(0, LOOK, "look"), eyes.seen, made(("look", LOOK))], END)
    eyes.go.set()
    async with running(tmp_path, agent(model, eyes.tools(), hooks=hooks)) as runtime:
        session = await runtime.session("a")
        await session.send("go")
        await until(session, ev.TurnCompleted)
        log = await events(session, runtime)
    assert started(log) == [("c0", True)]
    assert outcomes(log) == {"c0": "denied"}
    assert heard == ["c0"]
    assert "saw a" not in str(model.requests[-1].messages)


async def test_an_event_of_a_program_waits_until_the_call_is_known(tmp_path: Path) -> None:
    """It is cut off where it would leave a trace, and runs when it is its turn."""
    eyes, more = Eyes(), asyncio.Event()
    model = Told([piece(0, "{}", "tell"), more, made(("tell", "{}"))], END)
    async with running(tmp_path, agent(model, eyes.tools())) as runtime:
        session = await runtime.session("a")
        await session.send("go")
        while not eyes.began:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert "emitted" not in kinds(await events(session, runtime))
        more.set()
        await until(session, ev.TurnCompleted)
        log = await events(session, runtime)
    assert [event.data for event in found(log, ev.Emitted)] == ["c0"]
    assert outcomes(log) == {"c0": "ok"}


@pytest.mark.parametrize("how", ["cancel", "steer", "pause", "deadline"])
async def test_what_cuts_the_model_off_ends_them(tmp_path: Path, how: str, clock: MovedClock) -> None:
    eyes, never = Eyes(), asyncio.Event()
    model = Told([piece(0, LOOK, "look"), never], END)
    limits = Limits(seconds=10.0) if how == "deadline" else Limits()
    async with running(tmp_path, agent(model, eyes.tools(), limits=limits)) as runtime:
        session = await runtime.session("a")
        await session.send("go")
        await eyes.seen.wait()
        if how == "steer":
            await session.send("no, this", mode="steer")
        elif how == "deadline":
            clock.skip(10.0)
        else:
            await session.control(how)  # type: ignore[arg-type]
        while not eyes.cut:
            await asyncio.sleep(0.01)
        if how == "pause":
            await session.control("resume")
        await until(session, ev.TurnCompleted)
        log = await events(session, runtime)
    assert "tool.started" not in kinds(log)
    assert dropped(log) == [1]
    assert eyes.done == []


async def test_a_crash_forgets_them(tmp_path: Path) -> None:
    """Whether the answer was in the log by then or not."""
    eyes, never = Eyes(), asyncio.Event()
    first = Told([piece(0, LOOK, "look"), never])
    async with running(tmp_path, agent(first, eyes.tools())) as runtime:
        session = await runtime.session("a")
        await session.send("go")
        await eyes.seen.wait()
    assert eyes.cut == ["a"]
    eyes.seen.clear()
    second = Told([piece(0, LOOK, "look"), eyes.seen, made(("look", LOOK))])
    async with running(tmp_path, agent(second, eyes.tools())) as runtime:
        await until(runtime.open(session.id), ev.ToolStarted)
    assert eyes.cut == ["a", "a"]
    eyes.go.set()
    async with running(tmp_path, agent(Told(END), eyes.tools())) as runtime:
        session = runtime.open(session.id)
        await until(session, ev.TurnCompleted)
        log = await events(session, runtime)
    assert eyes.done == ["a"]
    assert [(event.attempt, event.early) for event in found(log, ev.ToolStarted)] == [(1, True), (2, False)]
    assert eyes.keys[1] == eyes.keys[2] != eyes.keys[0]
    assert {event.key for event in found(log, ev.ToolStarted)} == {eyes.keys[1]}
    assert outcomes(log) == {"c0": "ok"}


async def test_no_more_run_at_once_than_ever(tmp_path: Path) -> None:
    eyes, more = Eyes(), asyncio.Event()
    texts = [f'{{"what":"{number}"}}' for number in range(20)]
    said = [piece(place, text, "look") for place, text in enumerate(texts)]
    model = Told([*said, more, made(*(("look", text) for text in texts))], END)
    async with running(tmp_path, agent(model, eyes.tools())) as runtime:
        session = await runtime.session("a")
        await session.send("go")
        while len(eyes.began) < 8:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert len(eyes.began) == 8
        more.set()
        await until(session, ev.ModelCompleted)
        eyes.go.set()
        await until(session, ev.TurnCompleted)
        log = await events(session, runtime)
    assert eyes.most == 8
    assert sorted(eyes.done, key=int) == [str(number) for number in range(20)]
    assert sum(early for _, early in started(log)) == 8
    results = [message for message in model.requests[-1].messages if isinstance(message, ToolMessage)]
    assert [message.call for message in results] == [f"c{place}" for place in range(20)]


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    "said",
    [
        [piece(0, '{"what":', "look")],
        [piece(0, "[1]}", "look")],
        [piece(0, '{"what":"' + "x" * 9000 + '"}', "look")],
        [piece(0, LOOK, "no_such_tool")],
        [piece(0, LOOK)],
        [piece(1, "}", "look"), piece(2, "{"), TextDelta("}")],
    ],
)
async def test_what_is_not_a_whole_call_begins_nothing(tmp_path: Path, said: list[Step]) -> None:
    eyes = Eyes()
    eyes.go.set()
    async with running(tmp_path, agent(Told([*said, *END]), eyes.tools())) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go") == "end"
    assert eyes.began == []


async def test_what_it_read_counts_as_read_only_when_it_counts(tmp_path: Path) -> None:
    """A file may be written over by a model that has read it, and not by one whose call was never made."""
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "a").write_text("before")
    read, write = '{"path":"a"}', '{"path":"a","content":"after"}'
    pause = asyncio.Event()
    asyncio.get_running_loop().call_later(0.2, pause.set)
    early = [piece(0, read, "read_file"), pause]
    model = Told(
        [*early, made(("write_file", write))], [*early, made(("read_file", read))], [made(("write_file", write))], END
    )
    async with running(tmp_path / "home", agent(model, ["read_file", "write_file"])) as runtime:
        session = await runtime.session("a", workspace=str(tmp_path / "place"))
        await session.send("go")
        await until(session, ev.TurnCompleted)
        log = await events(session, runtime)
    assert [event.outcome for event in found(log, ev.ToolCompleted)] == ["error", "ok", "ok"]
    assert dropped(log) == [1]
