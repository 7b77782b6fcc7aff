"""What a compaction that was asked for says of itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from roost.features.client_tools.events import ClientOfferInput
from roost.features.compaction.api import Compacted, Compaction
from roost.features.compaction.events import CompactionStarted, ContextCompacted
from roost.log.content import ErrorData, Text, UserMessage
from roost.models.request import Profile, Request
from roost.testing.scripted import Answer, ScriptedModel

from .support import Agent, Traces, calling, events, running, until

pytestmark = pytest.mark.one_on_postgres

LONG = "and so on, word after word " * 40
ASKED = "[This is not from the user.]"


def talker(summary: Answer, *answers: Answer, traces: Traces | None = None, local: bool = False) -> Agent:
    """It gives these answers, then long ones. `summary` is what it says when it is asked for one."""
    left = list(answers)

    def say(request: Request) -> Answer:
        last = request.messages[-1]
        parts = last.parts if isinstance(last, UserMessage) else ()
        if any(isinstance(part, Text) and part.text.startswith(ASKED) for part in parts):
            return summary
        return left.pop(0) if left else Answer(text=LONG)

    model = ScriptedModel(say, profile=Profile(local=local))
    return Agent("a", model=model, tools=traces.tools() if traces else (), permissions="all")


async def test_it_says_how_much_smaller_by_whom_and_the_same_when_asked_again(tmp_path: Path) -> None:
    async with running(tmp_path, talker(Answer(text="There were birds."))) as runtime:
        session = await runtime.session("a")
        for _ in range(4):
            await session.ask(LONG)
        before = (await session.inspect()).context_tokens
        done = await runtime.compaction.compact(session.id, key="once")
        came, now = done.compaction, await session.inspect()
        assert (came.outcome, came.by, came.why, came.outputs) == ("smaller", "model", None, 0)
        assert (came.before, came.after) == (before, now.context_tokens)
        assert came.messages > 0
        assert done.head == now.info.head
        assert (await runtime.compaction.compact(session.id, key="once")).compaction == came
        assert (await runtime.sessions.control(session.id, "compact", key="once")).head == now.info.head
        log = await events(session, runtime)
        assert sum(isinstance(event, ContextCompacted) for event in log) == 1
        assert isinstance(await session.control("compact"), Compacted)


async def test_a_summary_has_not_the_form_that_a_client_wants_of_answers(tmp_path: Path) -> None:
    asked: list[Request] = []

    def say(request: Request) -> Answer:
        asked.append(request)
        return Answer(text=LONG)

    form = {"type": "object", "properties": {"x": {"type": "integer"}}}
    async with running(tmp_path, Agent("a", model=ScriptedModel(say))) as runtime:
        session = await runtime.session("a")
        await runtime.sessions.put(session.id, ClientOfferInput((), form))
        for _ in range(4):
            await session.ask(LONG)
        await runtime.compaction.compact(session.id)
    *turns, summary = asked
    assert [one.output_schema for one in turns] == [form] * 4
    assert summary.output_schema is None


async def test_by_rule_it_says_why_not_by_the_model(tmp_path: Path) -> None:
    agents = {
        "a broken": talker(Answer(error=ErrorData("overloaded", "no room at the provider"))),
        "a local": talker(Answer(text="never asked"), local=True),
    }
    for which, agent in agents.items():
        async with running(tmp_path, agent) as runtime:
            session = await runtime.session("a")
            for _ in range(4):
                await session.ask(LONG)
            came = (await runtime.compaction.compact(session.id)).compaction
            assert (came.outcome, came.by) == ("smaller", "plain")
            assert came.why == ("no room at the provider" if which == "a broken" else None)


async def test_nothing_to_compact_and_nothing_gained_are_told_apart(tmp_path: Path) -> None:
    async with running(tmp_path, talker(Answer(text=LONG * 4), *[Answer(text="yes")] * 4)) as runtime:
        session = await runtime.session("a")
        assert (await runtime.compaction.compact(session.id)).compaction == Compaction(
            outcome="nothing", before=0, after=0
        )
        await session.ask("hello")
        tokens = (await session.inspect()).context_tokens
        alone = (await runtime.compaction.compact(session.id)).compaction
        assert alone == Compaction(outcome="nothing", before=tokens, after=tokens)
        for _ in range(3):
            await session.ask("and?")
        came = (await runtime.compaction.compact(session.id)).compaction
        assert (came.outcome, came.by, came.messages) == ("no_gain", None, 0)
        assert came.before == came.after == (await session.inspect()).context_tokens
        assert came.why == "the summary made it no smaller"


async def test_by_rule_too_nothing_gained_is_said(tmp_path: Path) -> None:
    async with running(tmp_path, talker(Answer(), *[Answer(text="yes")] * 4, local=True)) as runtime:
        session = await runtime.session("a")
        for _ in range(4):
            await session.ask("and?")
        came = (await runtime.compaction.compact(session.id)).compaction
        assert (came.outcome, came.why) == ("no_gain", "the summary made it no smaller")


async def test_it_waits_for_the_open_turn_and_says_so(tmp_path: Path) -> None:
    traces = Traces()
    agent = talker(Answer(text="There were birds."), *[Answer(text=LONG)] * 3, calling("never"), traces=traces)
    async with running(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        for _ in range(3):
            await session.ask(LONG)
        await session.send("hold")
        await traces.started.wait()
        waits = (await runtime.compaction.compact(session.id, key="once", wait=0.2)).compaction
        assert (waits.outcome, waits.before) == ("waits", waits.after)
        assert waits.why == "it waits for the next step of the turn that is open"
        traces.gate.set()
        done = (await runtime.compaction.compact(session.id, key="once")).compaction
        assert (done.outcome, done.by) == ("smaller", "model")


async def test_what_a_stop_cuts_off_is_told(tmp_path: Path) -> None:
    async with running(tmp_path, talker(Answer(text="late", delay=60))) as runtime:
        session = await runtime.session("a")
        for _ in range(3):
            await session.ask(LONG)
        asked = asyncio.create_task(runtime.compaction.compact(session.id))
        await until(session, CompactionStarted)
        await session.control("stop")
        done = await asked
        assert (done.compaction.outcome, done.compaction.why) == ("cut_off", "cut off: stop")
        assert done.compaction.before == done.compaction.after
