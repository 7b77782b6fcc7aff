"""A context that grows too full: outputs of tools leave it first, then a summary takes the place of what was said."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roost.agent.definition import Agent, Limits
from roost.agent.fold import apply
from roost.agent.options import Compaction
from roost.agent.state import State
from roost.errors import Invalid, TooLarge
from roost.features.compaction.events import CompactionStarted, ContextCompacted, ContextElided, ContextPinned
from roost.log import events as ev
from roost.log.content import ErrorData, Text, ToolMessage, Usage, UserMessage
from roost.models.request import Price, Profile, Request
from roost.models.tokens import estimate_request
from roost.providers.accounts import Models
from roost.runtime import Runtime, SessionHandle
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.testing.transcript import check_transcript
from roost.tools.function import tool

from .support import FAST, events, kinds, running, until

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

WINDOW = Profile(window=4_000, max_output=500, price=Price(10, 100))
ASKED = "[This is not from the user.]"
TASK = "the task: count the birds"
LONG = "and so on, word after word " * 20


@tool(replay="safe", safety="read_only")
async def look(what: str) -> str:
    """Look at something."""
    return f"{what}: " + "what is seen there, line after line\n" * 60


def text_of(message: Any) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, Text))


class Clerk:
    """An agent in a small window. `summary` is what its model says when it is asked for one."""

    def __init__(
        self,
        summary: Answer,
        *,
        answer: Callable[[Request], Answer] | None = None,
        compaction: Compaction | None = None,
        tools: tuple[Any, ...] = (),
        profile: Profile = WINDOW,
    ) -> None:
        self.summary, self._answer = summary, answer
        self.summaries = 0
        self.requests: list[Request] = []
        self.asked: list[Request] = []
        self.model = ScriptedModel(self._say, profile=profile)
        limits, compaction = Limits(session_money=1.0), compaction or Compaction()
        self.agent = Agent("a", model=self.model, tools=tools, permissions="all", compaction=compaction, limits=limits)

    def _say(self, request: Request) -> Answer:
        if text_of(request.messages[-1]).startswith(ASKED):
            self.summaries += 1
            self.asked.append(request)
            return self.summary
        self.requests.append(request)
        if self._answer is not None:
            return self._answer(request)
        return Answer(text=f"answer {len(self.requests)} {LONG}")


async def fill(session: SessionHandle, runtime: Runtime, *, until: int = 1) -> None:
    """Talk until so many compactions were made."""
    await session.ask(TASK)
    for number in range(60):
        if kinds(await events(session, runtime)).count("context.compacted") >= until:
            return
        await session.ask(f"question {number} {LONG}")
    raise AssertionError("nothing was compacted")


def outcome(log: list[ev.Event]) -> ContextCompacted:
    return next(event for event in log if isinstance(event, ContextCompacted))


async def balanced(runtime: Runtime, session: SessionHandle) -> int:
    """What the ledger says, which is what the log says."""
    balance = await runtime.node.store.ledger.balance(f"session:{session.id}")
    told = [getattr(event, "usage", None) for event in await events(session, runtime)]
    turns = [event for event in await events(session, runtime) if isinstance(event, ev.TurnCompleted)]
    costs = sum(usage.cost or 0 for usage in told if usage is not None)
    assert costs - sum(event.usage.cost or 0 for event in turns) == balance.spent
    assert (await session.inspect()).usage.cost == balance.spent
    assert balance.reserved == 0
    return balance.spent


async def test_a_model_writes_the_summary_and_the_task_stays(tmp_path: Path) -> None:
    clerk = Clerk(Answer(text="There were three birds.", usage=Usage(700, 30)))
    async with running(tmp_path, clerk.agent) as runtime:
        session = await runtime.session("a")
        await fill(session, runtime)
        log = await events(session, runtime)
        started = next(event for event in log if isinstance(event, CompactionStarted))
        done = outcome(log)
        assert (started.model, started.attempt) == ("scripted", 1)
        assert started.before == done.before
        assert (done.by, done.error, done.dropped) == ("model", None, started.messages)
        assert done.after < done.before / 1.5
        assert done.usage == Usage(700, 30, cost=700 * 10 + 30 * 100)
        messages = clerk.requests[-1].messages
        assert text_of(messages[0]) == TASK
        assert "There were three birds." in text_of(messages[1])
        assert all(isinstance(message, UserMessage) for message in messages[:2])
        state = State()
        for event in log[: log.index(done) + 1]:
            apply(state, event)
        assert done.after == state.tokens
        await balanced(runtime, session)
        check_transcript(messages)


async def test_a_provider_sees_one_conversation_that_only_a_compaction_breaks(tmp_path: Path) -> None:
    """Also the request for the summary begins as the last one did, with the same rules and tools."""
    clerk = Clerk(Answer(text="in short"), tools=(look,))
    async with running(tmp_path, clerk.agent) as runtime:
        session = await runtime.session("a")
        await fill(session, runtime, until=3)
        breaks = 0
        for before, after in zip(clerk.requests, clerk.requests[1:], strict=False):
            breaks += after.messages[: len(before.messages)] != before.messages
            assert (after.instruction, after.tools) == (before.instruction, before.tools)
        assert breaks == 3
        for asked in clerk.asked:
            assert (asked.instruction, asked.tools) == (clerk.requests[0].instruction, clerk.requests[0].tools)
            assert any(one.messages[: len(asked.messages) - 1] == asked.messages[:-1] for one in clerk.requests)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (Answer(error=ErrorData("overloaded", "not now")), "overloaded"),
        (Answer(text="I look first", calls=(Call("look", {"what": "x"}),)), "tool_calls"),
        (Answer(text="  \n"), "empty"),
        (Answer(text="done"), "too_short"),
        (Answer(text="Understood."), "too_short"),
        (Answer(text="I must not", stop="refusal"), "refusal"),
    ],
)
async def test_what_is_no_summary_is_not_taken(tmp_path: Path, said: Answer, code: str) -> None:
    clerk = Clerk(said, tools=(look,))
    async with running(tmp_path, clerk.agent) as runtime:
        session = await runtime.session("a")
        await fill(session, runtime)
        done = outcome(await events(session, runtime))
        assert done.by == "plain"
        assert done.error is not None
        assert done.error.code == code
        assert done.after < done.before
        block = text_of(clerk.requests[-1].messages[1])
        assert "shortened by rule" in block
        assert "question 0" in block
        await balanced(runtime, session)


async def test_a_summary_that_is_longer_than_asked_is_cut(tmp_path: Path) -> None:
    clerk = Clerk(Answer(text="first line\n" + "more of it " * 5_000))
    async with running(tmp_path, clerk.agent) as runtime:
        session = await runtime.session("a")
        await fill(session, runtime)
        done = outcome(await events(session, runtime))
        assert done.by == "model"
        assert done.after <= 3_500 * 0.55
        assert "first line" in done.summary
        assert len(done.summary) < 3_000


async def test_a_summary_that_saves_nothing_is_refused(tmp_path: Path) -> None:
    clerk = Clerk(Answer(text="more of it " * 5_000), answer=lambda _: Answer(text="yes"))
    async with running(tmp_path, clerk.agent) as runtime:
        session = await runtime.session("a")
        for number in range(3):
            await session.ask(f"{number}?")
        before = await runtime.sessions.transcript(session.id)
        await runtime.compaction.compact(session.id)
        done = outcome(await events(session, runtime))
        assert clerk.summaries == 1
        assert (done.upto, done.by, done.before) == (0, None, done.after)
        assert done.error is not None
        assert done.error.code == "no_gain"
        assert await runtime.sessions.transcript(session.id) == before
        await balanced(runtime, session)


@pytest.mark.parametrize(
    ("compaction", "profile"),
    [
        (Compaction(by="plain"), WINDOW),
        (None, Profile(window=4_000, max_output=500, local=True, price=Price(10, 100))),
    ],
)
async def test_without_a_model_it_costs_nothing(
    tmp_path: Path, compaction: Compaction | None, profile: Profile
) -> None:
    clerk = Clerk(Answer(text="never"), compaction=compaction, profile=profile)
    async with running(tmp_path, clerk.agent) as runtime:
        session = await runtime.session("a")
        await fill(session, runtime, until=3)
        log = await events(session, runtime)
        assert clerk.summaries == 0
        assert "compaction.started" not in kinds(log)
        assert (outcome(log).by, outcome(log).usage, outcome(log).error) == ("plain", None, None)
        first, _, third = (event.summary for event in log if isinstance(event, ContextCompacted))
        carried = set(re.findall(r"question \d+", first)) & set(re.findall(r"question \d+", third))
        assert carried, "an earlier summary is carried on"


async def test_another_model_may_write_it(tmp_path: Path) -> None:
    clerk = Clerk(Answer(text="never"), compaction=Compaction(model="other/small"))
    other = ScriptedModel(["three birds"], name="other/small", profile=WINDOW)
    models = Models()
    models.register("other", lambda _: other)
    runtime = Runtime(tmp_path, agents=[clerk.agent], models=models, config=FAST)
    await runtime.start()
    try:
        session = await runtime.session("a")
        await fill(session, runtime)
        log = await events(session, runtime)
        assert [event.model for event in log if isinstance(event, CompactionStarted)] == ["other/small"]
        assert (clerk.summaries, other.calls, outcome(log).by) == (0, 1, "model")
        spent = await balanced(runtime, session)
        rows = {row.name: row for row in (await runtime.costs.get(by="model")).rows}
        assert rows["other/small"].calls == 1
        assert sum(row.cost for row in rows.values()) == spent
    finally:
        await runtime.stop(grace=0.2)


async def test_a_model_that_is_not_there_stops_nobody(tmp_path: Path) -> None:
    clerk = Clerk(Answer(text="never"), compaction=Compaction(model="none/such"))
    async with running(tmp_path, clerk.agent) as runtime:
        session = await runtime.session("a")
        await fill(session, runtime)
        done = outcome(await events(session, runtime))
        assert (clerk.summaries, done.by) == (0, "plain")
        assert done.error is not None


def looking(request: Request) -> Answer:
    """Looks once in each turn."""
    if isinstance(request.messages[-1], UserMessage):
        return Answer(calls=(Call("look", {"what": f"place {len(request.messages)}"}),))
    return Answer(text="seen")


@pytest.mark.parametrize("readable", [True, False])
async def test_old_outputs_leave_first_and_can_be_read_again(tmp_path: Path, readable: bool) -> None:
    tools = (look, "read_history") if readable else (look,)
    clerk = Clerk(Answer(text="never"), answer=looking, tools=tools)
    async with running(tmp_path, clerk.agent) as runtime:
        session = await runtime.session("a")
        for number in range(9):
            await session.ask(f"look {number}")
        log = await events(session, runtime)
        elided = [event for event in log if isinstance(event, ContextElided)]
        assert elided
        assert clerk.summaries == 0
        assert all(event.after < event.before * 0.7 for event in elided)
        results = [one for one in clerk.requests[-1].messages if isinstance(one, ToolMessage)]
        assert "line after line" in text_of(results[-1])
        stub = text_of(results[0])
        assert stub.startswith("[output of look, ")
        assert ("read_history" in stub) == readable
        assert (f"seq={elided[0].outputs[0]})" in stub) == readable
        completed = log[elided[0].outputs[0] - 1]
        assert isinstance(completed, ev.ToolCompleted)
        assert "line after line" in text_of(completed)


@pytest.mark.parametrize("readable", [True, False])
async def test_of_outputs_that_are_too_much_at_once_the_model_sees_the_beginnings(
    tmp_path: Path, readable: bool
) -> None:
    def answer(request: Request) -> Answer:
        if isinstance(request.messages[-1], UserMessage):
            return Answer(calls=tuple(Call("look", {"what": f"{place}"}) for place in range(9)))
        return Answer(text="seen")

    clerk = Clerk(Answer(text="never"), answer=answer, tools=(look, "read_history") if readable else (look,))
    async with running(tmp_path, clerk.agent) as runtime:
        session = await runtime.session("a")
        assert await session.ask("look everywhere") == "seen"
        results = [text_of(one) for one in clerk.requests[-1].messages if isinstance(one, ToolMessage)]
        assert [text[:7] for text in results] == [f"{place}: what" for place in range(9)]
        assert all(("read_history(seq=" in text) == readable for text in results)
        assert estimate_request(clerk.requests[-1]) < 3_500


async def test_a_summary_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    clerk = Clerk(Answer(text="late", delay=60.0), compaction=Compaction(seconds=0.1))
    async with running(tmp_path, clerk.agent) as runtime:
        session = await runtime.session("a")
        await fill(session, runtime)
        done = outcome(await events(session, runtime))
        assert done.by == "plain"
        assert done.error is not None
        assert done.error.code == "timeout"
        assert done.usage is not None, "the provider may have counted it"
        await balanced(runtime, session)


async def test_two_orders_at_once_are_two_compactions_after_each_other(tmp_path: Path) -> None:
    clerk = Clerk(Answer(text="in short", delay=0.1))
    async with running(tmp_path, clerk.agent) as runtime:
        session = await runtime.session("a")
        await session.ask(TASK)
        for number in range(4):
            await session.ask(f"question {number} {LONG}")
        await asyncio.gather(*(runtime.compaction.compact(session.id) for _ in range(4)))
        log = kinds(await events(session, runtime))
        steps = [kind for kind in log if kind.startswith(("compaction.", "context."))]
        assert steps[:2] == ["compaction.started", "context.compacted"]
        assert all(steps[at : at + 2] != ["compaction.started"] * 2 for at in range(len(steps)))
        assert clerk.summaries <= 2


@pytest.mark.parametrize("action", ["pause", "stop"])
async def test_it_is_made_whatever_the_session_s_state(tmp_path: Path, action: Any) -> None:
    clerk = Clerk(Answer(text="in short"))
    async with running(tmp_path, clerk.agent) as runtime:
        session = await runtime.session("a")
        await session.ask(TASK)
        for number in range(4):
            await session.ask(f"question {number} {LONG}")
        state = (await runtime.sessions.control(session.id, action)).state
        info = await runtime.compaction.compact(session.id)
        assert info.state == state
        assert outcome(await events(session, runtime)).by == "model"


@pytest.mark.parametrize("size", [9_000, 10_500, 11_500, 13_500])
async def test_a_message_that_fills_the_window_is_not_summarized_around_again_and_again(
    tmp_path: Path, size: int
) -> None:
    @tool(replay="safe", safety="read_only")
    async def peek() -> str:
        """Look, and see little."""
        return "little"

    def answer(request: Request) -> Answer:
        return Answer(text="done") if len(clerk.requests) > 30 else Answer(calls=(Call("peek"),))

    clerk = Clerk(Answer(text="in short"), answer=answer, tools=(peek,))
    async with running(tmp_path, clerk.agent) as runtime:
        session = await runtime.session("a")
        await session.ask("x" * size)
        log = await events(session, runtime)
        assert clerk.summaries <= 2
        assert kinds(log).count("context.compacted") <= 2
        assert "x" * size in [text_of(message) for message in clerk.requests[-1].messages]


@pytest.mark.parametrize("action", ["cancel", "pause", "stop"])
async def test_a_control_cuts_it_off(tmp_path: Path, action: Any) -> None:
    slow = Answer(text="in short", delay=30.0)
    clerk = Clerk(slow)
    async with running(tmp_path, clerk.agent) as runtime:
        session = await runtime.session("a")
        ticket = asyncio.create_task(fill(session, runtime))
        await until(session, CompactionStarted)
        info = await runtime.sessions.control(session.id, action)
        assert info.state == {"cancel": "running", "pause": "paused", "stop": "stopped"}[action]
        log = await events(session, runtime)
        done = outcome(log)
        assert done.error is not None
        assert (done.error.code, done.upto, done.before) == (action, 0, done.after)
        await balanced(runtime, session)
        if action == "pause":
            clerk.summary = Answer(text="in short")
            await runtime.sessions.control(session.id, "resume")
            await until(session, ev.TurnCompleted, after=len(log))
            assert [one.by for one in await events(session, runtime) if isinstance(one, ContextCompacted)] == [
                None,
                "model",
            ]
        ticket.cancel()
        await asyncio.gather(ticket, return_exceptions=True)


async def test_what_is_said_meanwhile_is_heard_after_it(tmp_path: Path) -> None:
    clerk = Clerk(Answer(text="in short", delay=0.3))
    async with running(tmp_path, clerk.agent) as runtime:
        session = await runtime.session("a")
        ticket = asyncio.create_task(fill(session, runtime))
        await until(session, CompactionStarted)
        await session.send("stop counting", mode="steer")
        await ticket
        log = await events(session, runtime)
        assert outcome(log).by == "model"
        assert "model.failed" not in kinds(log)
        assert text_of(clerk.requests[-1].messages[-1]) == "stop counting"


async def test_a_shutdown_leaves_it_to_the_next_owner(tmp_path: Path) -> None:
    clerk = Clerk(Answer(text="in short", delay=30.0))
    async with running(tmp_path, clerk.agent) as runtime:
        session = await runtime.session("a")
        ticket = asyncio.create_task(fill(session, runtime))
        await until(session, CompactionStarted)
        ticket.cancel()
        await asyncio.gather(ticket, return_exceptions=True)
    clerk.summary = Answer(text="in short")
    async with running(tmp_path, clerk.agent) as runtime:
        session = runtime.open(session.id)
        done = await until(session, ev.TurnCompleted, after=(await runtime.sessions.get(session.id)).head)
        assert done.outcome == "answered"
        log = await events(session, runtime)
        assert [event.attempt for event in log if isinstance(event, CompactionStarted)] == [1, 2]
        assert "model.lost" in kinds(log)
        assert outcome(log).by == "model"
        await balanced(runtime, session)


async def test_a_person_may_ask_for_it(tmp_path: Path) -> None:
    clerk = Clerk(Answer(text="we spoke of birds"))
    async with running(tmp_path, clerk.agent) as runtime:
        session = await runtime.session("a")
        await runtime.compaction.compact(session.id)
        assert outcome(await events(session, runtime)).upto == 0, "there was nothing to make smaller"
        await session.ask(TASK)
        for number in range(4):
            await session.ask(f"question {number} {LONG}")
        before = (await session.inspect()).context_tokens
        head = (await runtime.sessions.get(session.id)).head
        await runtime.compaction.compact(session.id)
        assert (await session.inspect()).context_tokens < before * 0.7
        assert clerk.summaries == 1
        await session.ask("go on")
        assert "we spoke of birds" in text_of(clerk.requests[-1].messages[1])
        assert kinds(await events(session, runtime))[head:].count("context.compacted") == 1
        await balanced(runtime, session)


async def test_it_is_made_smaller_while_a_call_waits_for_a_person(tmp_path: Path) -> None:
    @tool(replay="never", safety="high_risk")
    async def act() -> str:
        """Act."""
        return "acted"

    def answer(request: Request) -> Answer:
        if text_of(request.messages[-1]) == "act":
            return Answer(calls=(Call("act"),))
        return Answer(text=f"answer {LONG}")

    clerk = Clerk(Answer(text="in short"), answer=answer, tools=(act,))
    asking = Agent("a", model=clerk.model, tools=[act], permissions="ask")
    async with running(tmp_path, asking) as runtime:
        session = await runtime.session("a")
        for number in range(4):
            await session.ask(f"question {number} {LONG}")
        await session.send("act")
        waiting = await until(session, ev.ApprovalRequested)
        await runtime.compaction.compact(session.id)
        await runtime.approvals.answer(session.id, waiting.call, "approve")
        await until(session, ev.TurnCompleted, after=(await runtime.sessions.get(session.id)).head - 1)
        log = await events(session, runtime)
        assert outcome(log).by == "model"
        check_transcript(clerk.requests[-1].messages)
        assert isinstance(clerk.requests[-1].messages[-1], ToolMessage)


async def test_what_is_pinned_stays_word_for_word(tmp_path: Path) -> None:
    rule = "never count swallows twice\n- not even once"

    def answer(request: Request) -> Answer:
        said = text_of(request.messages[-1])
        if said.startswith(("pin ", "unpin ")):
            name, _, key = said.partition(" ")
            given = {"key": key, "text": rule} if name == "pin" else {"key": key}
            return Answer(calls=(Call(name, given),))
        return Answer(text=f"answer {LONG}")

    clerk = Clerk(Answer(text="in short"), answer=answer, tools=("pin", "unpin"))
    async with running(tmp_path, clerk.agent) as runtime:
        session = await runtime.session("a")
        await session.ask("pin rule")
        await session.ask("pin task")
        await fill(session, runtime)
        block = next(text for text in map(text_of, clerk.requests[-1].messages) if "in short" in text)
        assert f"- rule: {rule}" in block
        assert "pin rule" not in [text_of(one) for one in clerk.requests[-1].messages], "another task is pinned"
        await session.ask("unpin rule")
        await runtime.compaction.compact(session.id)
        await session.ask("go on")
        block = next(text for text in map(text_of, clerk.requests[-1].messages) if "in short" in text)
        assert "- rule:" not in block
        assert f"- task: {rule}" in block


async def test_a_person_pins_and_the_model_hears_of_it_with_the_next_message(tmp_path: Path) -> None:
    clerk = Clerk(Answer(text="in short"))
    async with running(tmp_path, clerk.agent) as runtime:
        session = await runtime.session("a")
        await session.ask(TASK)
        await runtime.compaction.pin(session.id, "rule", "no swallows")
        await until(session, ContextPinned)
        assert (await session.inspect()).pins == {"rule": "no swallows"}
        await session.ask("go on")
        assert "[pinned under rule, to be kept in mind: no swallows]go on" in text_of(clerk.requests[-1].messages[-1])
        await session.ask("and on")
        assert text_of(clerk.requests[-1].messages[-1]) == "and on"
        assert clerk.requests[-1].messages[: len(clerk.requests[-2].messages)] == clerk.requests[-2].messages
        await runtime.compaction.unpin(session.id, "rule")
        await session.ask("further")
        assert "rule is not pinned any more" in text_of(clerk.requests[-1].messages[-1])
        for key, text in (("a b", "x"), ("ok", " ")):
            with pytest.raises(Invalid):
                await runtime.compaction.pin(session.id, key, text)
        with pytest.raises(TooLarge):
            await runtime.compaction.pin(session.id, "big", "x" * 9_000)


async def test_the_estimate_learns_from_the_provider(tmp_path: Path) -> None:
    """One that counts twice as much sees its window full at half of the estimate."""
    sizes: list[int] = []

    def answer(request: Request) -> Answer:
        tokens = 2 * estimate_request(request)
        sizes.append(tokens)
        return Answer(text=f"answer {LONG}", usage=Usage(tokens, 100))

    clerk = Clerk(
        Answer(text="in short"), answer=answer, profile=Profile(window=8_000, max_output=500, price=Price(10, 100))
    )
    async with running(tmp_path, clerk.agent) as runtime:
        session = await runtime.session("a")
        await fill(session, runtime, until=2)
        log = await events(session, runtime)
        started = [event for event in log if isinstance(event, ev.ModelStarted)]
        real = [event.usage.input for event in log if isinstance(event, ev.ModelCompleted)]
        assert all(abs(2 * one.context - told) < 40 for one, told in zip(started, real, strict=True))
        assert max(sizes) < 7_500
        assert 2_000 < outcome(log).before < 3_500
