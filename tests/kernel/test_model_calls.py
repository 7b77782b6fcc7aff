"""What happens on the way of a model call: told as it happens, and what was said before an answer began again does not
count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import msgspec
import pytest

from roost.agent.definition import Agent
from roost.log import events as ev
from roost.log.content import ErrorData, Text, Usage
from roost.log.frames import Delta
from roost.models.request import Completed, ModelEvent, Notice, Price, Profile, Request, TextDelta
from roost.routing.recovery import Chains, Degrading
from roost.runtime import Runtime, SessionHandle, TurnFailed
from roost.testing.clock import MovedClock
from roost.testing.scripted import Answer, Call, ScriptedModel

from .support import Traces, calling, events, kinds, running, until

pytestmark = pytest.mark.one_on_postgres

Step = ModelEvent | asyncio.Event


class Told:
    """A model that says exactly these events, waiting where there is an `asyncio.Event`."""

    name = "told"

    def __init__(self, *steps: Step, profile: Profile | None = None) -> None:
        self.profile = profile or Profile()
        self.steps: Sequence[Step] = steps
        self.requests: list[Request] = []

    async def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        self.requests.append(request)
        for step in self.steps:
            if isinstance(step, asyncio.Event):
                await step.wait()
            else:
                yield step

    async def close(self) -> None:
        pass


DONE = Completed((Text("right"),), "end", Usage(10, 5))


def notices(log: list[ev.Event]) -> list[str]:
    return [event.kind for event in log if isinstance(event, ev.ModelNotice)]


class Reader:
    """Keeps the text of the running step as `docs/reference/http.md` says a client should."""

    def __init__(self, runtime: Runtime, session: SessionHandle) -> None:
        self._batches = runtime.sessions.stream(session.id)
        self.text = ""
        self.seen: list[str] = []

    async def until(self, text: str) -> None:
        """Raises `TimeoutError` when that is never the text."""
        async with asyncio.timeout(30):
            while self.text != text:
                for seq, body in await anext(self._batches):
                    self._take(body, known=seq is not None)

    async def close(self) -> None:
        await self._batches.aclose()  # type: ignore[attr-defined]

    def _take(self, body: bytes, *, known: bool) -> None:
        if not known:
            piece = msgspec.json.decode(body, type=Delta)
            assert piece.offset <= len(self.text), "a piece is missing, or is of an answer that does not count"
            self.text = self.text[: piece.offset] + piece.text
            return
        event = ev.decode_event(body)
        self.seen.append(ev.event_type(event))
        if isinstance(event, ev.ModelNotice) and event.kind == "restart":
            self.text = ""


async def test_a_notice_is_seen_while_the_call_goes_on(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    retry = Notice("retry", {"code": "overloaded", "try": 2})
    model = Told(Notice("route", {"chain": ["told"]}), retry, go_on, TextDelta("right"), DONE)
    async with running(tmp_path, Agent("a", model=model)) as runtime:
        session = await runtime.session("a")
        await session.send("hi")
        first = await until(session, ev.ModelNotice, timeout=30)
        assert (first.kind, first.step, first.data) == ("route", 1, {"chain": ["told"]})
        second = await until(session, ev.ModelNotice, after=6, timeout=30)
        assert (second.kind, second.data["try"]) == ("retry", 2)
        assert "model.completed" not in kinds(await events(session, runtime))
        go_on.set()
        await until(session, ev.TurnCompleted)


async def test_notices_of_a_short_call_are_in_the_commit_of_its_outcome(tmp_path: Path) -> None:
    model = Told(Notice("route"), Notice("repair"), TextDelta("right"), DONE)
    async with running(tmp_path, Agent("a", model=model)) as runtime:
        session = await runtime.session("a")
        commits: list[list[str]] = []
        runtime.node.store.changes.watch(
            lambda change: commits.append([ev.event_type(one.event) for one in change.records or ()]),
            session=session.id,
        )
        assert await session.ask("hi") == "right"
        outcome = ["model.notice", "model.notice", "model.completed", "turn.completed"]
        assert [commit for commit in commits if commit][-1] == outcome


async def test_what_was_said_before_a_restart_counts_for_no_reader(tmp_path: Path) -> None:
    shown, again, end = asyncio.Event(), asyncio.Event(), asyncio.Event()
    model = Told(
        *(TextDelta("wrong, "), TextDelta("and long"), shown, Notice("retry"), Notice("restart"), again),
        *(TextDelta("rig"), TextDelta("ht"), end, DONE),
    )
    async with running(tmp_path, Agent("a", model=model)) as runtime:
        session = await runtime.session("a")
        early, idle = Reader(runtime, session), Reader(runtime, session)
        await session.send("hi")
        await early.until("wrong, and long")
        shown.set()
        await early.until("")
        late = Reader(runtime, session)
        again.set()
        for reader in (early, late, Reader(runtime, session), idle):
            await reader.until("right")
            assert reader.seen.count("model.notice") == 2
            await reader.close()
        end.set()
        assert await session.answer(1) == "right"
        assert notices(await events(session, runtime)) == ["retry", "restart"]


async def test_a_model_is_told_what_the_agent_says(tmp_path: Path) -> None:
    model = ScriptedModel(["ok"])
    clerk = Agent(
        "a",
        model=model,
        intent="review",
        effort="high",
        constraints=["no secrets"],
        output_hint="three lines",
        knobs={"verbosity": "low"},
        horizon="long",
    )
    async with running(tmp_path, clerk) as runtime:
        session = await runtime.session("a", labels={"user": "ann"})
        await session.ask("hi")
        (request,) = model.requests
        assert (request.intent, request.effort, request.constraints) == ("review", "high", ("no secrets",))
        assert (request.output_hint, request.knobs) == ("three lines", {"verbosity": "low"})
        about = {"step": "1", "attempt": "1", "turn": "1", "agent": "a", "user": "ann", "horizon": "long"}
        assert request.meta == {"session": session.id, **about}


def _narrow(most: int) -> ScriptedModel:
    def answer(request: Request) -> Answer:
        if len(request.messages) > most:
            return Answer(error=ErrorData("context_overflow", "too long"))
        return Answer(text=f"heard {len(request.messages)}")

    return ScriptedModel(answer)


async def test_a_conversation_that_is_too_long_all_the_same_is_asked_again_with_less(tmp_path: Path) -> None:
    async with running(tmp_path, Agent("a", model=_narrow(8))) as runtime:
        session = await runtime.session("a")
        for _ in range(4):
            await session.ask("question " * 50)
        assert await session.ask("the last") == "heard 3", "the task, what was said since, and this"
        log = await events(session, runtime)
        assert notices(log) == ["recovery"]
        assert kinds(log).count("context.compacted") == 1
        assert kinds(log).count("model.started") == 5
        assert "model.failed" not in kinds(log)


async def test_one_that_stays_too_long_fails_its_turn(tmp_path: Path) -> None:
    model = _narrow(0)
    async with running(tmp_path, Agent("a", model=model)) as runtime:
        session = await runtime.session("a")
        with pytest.raises(TurnFailed, match="context_overflow: too long"):
            await session.ask("hi")
        assert model.calls == 1


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("times", [1, 9])
async def test_an_answer_of_nothing_is_asked_for_again(tmp_path: Path, times: int, clock: MovedClock) -> None:
    model = ScriptedModel([*[Answer()] * times, "something"])
    async with running(tmp_path, Agent("a", model=model)) as runtime:
        session = await runtime.session("a")
        if times == 1:
            assert await clock.hurry(session.ask("hi")) == "something"
        else:
            with pytest.raises(TurnFailed, match=r"overloaded|empty"):
                await clock.hurry(session.ask("hi"))


async def test_the_model_that_answered_is_named_where_it_is_another(tmp_path: Path) -> None:
    price = Profile(price=Price(10, 100))
    first = ScriptedModel([Answer(error=ErrorData("quota", "no more"))], name="first", profile=price)
    second = ScriptedModel(["right", "right"], name="second", profile=price)
    chain = Degrading({"first": first, "second": second}, Chains(default=("first", "second")))
    async with running(tmp_path, Agent("a", model=chain)) as runtime:
        session = await runtime.session("a")
        assert await session.ask("hi") == "right"
        log = await events(session, runtime)
        (begun,) = [event for event in log if isinstance(event, ev.ModelStarted)]
        (done,) = [event for event in log if isinstance(event, ev.ModelCompleted)]
        assert (begun.model, done.model) == ("first", "second")
        assert (done.usage.cost or 0) >= 100 * 10 + 20 * 100
        assert notices(log) == ["fallback"]


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("code", ["stuck", "no_model", "quota"])
async def test_what_no_other_try_helps_fails_the_turn_under_its_code(tmp_path: Path, code: str) -> None:
    model = ScriptedModel([Answer(error=ErrorData(code, "it is so"))])
    async with running(tmp_path, Agent("a", model=model)) as runtime:
        session = await runtime.session("a")
        with pytest.raises(TurnFailed, match=f"failed: {code}: it is so"):
            await session.ask("hi")


async def test_a_call_that_was_repaired_is_run_and_the_wrong_one_is_no_part_of_the_conversation(tmp_path: Path) -> None:
    traces = Traces()
    wrong, right = Answer(calls=(Call("look", {"what": 7}),)), calling("look", what="a")
    model = ScriptedModel([wrong, right, "done"])
    clerk = Agent("a", model=model, tools=traces.tools(), permissions="all")
    async with running(tmp_path, clerk) as runtime:
        session = await runtime.session("a")
        assert await session.ask("hi") == "done"
        assert traces.done == ["look a"]
        log = await events(session, runtime)
        assert notices(log) == ["repair", "restart"]
        assert kinds(log).count("model.started") == 2
        assert (await session.inspect()).usage.input == 300
