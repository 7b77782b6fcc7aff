"""A session without end: it stays inside a small window, keeps what is pinned, and finds what was said long ago."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from roost.agent.definition import Agent
from roost.agent.fold import apply
from roost.agent.state import State, transcript
from roost.features.compaction.events import ContextCompacted, ContextElided
from roost.features.compaction.state import CompactionState, head
from roost.log import events as ev
from roost.log.content import AssistantMessage, ErrorData, Text, ToolMessage, Usage, UserMessage
from roost.models.request import Profile, Request
from roost.models.tokens import estimate_request
from roost.runtime import SessionHandle
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.testing.transcript import check_transcript
from roost.tools.function import tool

from .support import kinds, running

TURNS = int(os.environ.get("ROOST_LONG_TURNS", "600"))
WINDOW, OUTPUT = 32_768, 4_096
REAL = 1.2
"""Tokens that this model's provider counts to one of our estimate."""
FACT = "The vault opens with plum-9041."
_ASKED = "[This is not from the user.]"


@tool(replay="safe", safety="read_only")
async def look(number: int) -> str:
    """Look at something."""
    return f"Row {number}: " + f"what stands in row {number} and goes on. " * 40


class Provider:
    """The model, and what its provider sees: the size of each request, and where one does not go on from the last."""

    def __init__(self) -> None:
        self.model = ScriptedModel(self.answer, profile=Profile(window=WINDOW, max_output=OUTPUT), keep=1)
        self.largest = self.breaks = self.summaries = self.foreign = 0
        self._last: tuple[object, ...] = ()

    def answer(self, request: Request) -> Answer:
        tokens = int(estimate_request(request) * REAL)
        self.largest = max(self.largest, tokens)
        if tokens + OUTPUT > WINDOW:
            return Answer(error=ErrorData("context_overflow", f"{tokens} tokens"))
        usage = Usage(tokens, 50)
        asked = request.messages[-1]
        if isinstance(asked, UserMessage) and _ASKED in said(asked):
            self.summaries += 1
            self.foreign += request.messages[:-1] != self._last[: len(request.messages) - 1]
            return Answer(text=f"Notes {self.summaries}: rows were looked at.", usage=usage)
        self.breaks += request.messages[: len(self._last)] != self._last
        self._last = request.messages
        return _scripted(request, usage)


def _scripted(request: Request, usage: Usage) -> Answer:
    """Looks in every turn, pins what it is told to keep, and reads back what it is asked for."""
    last = request.messages[-1]
    if isinstance(last, ToolMessage):
        return Answer(text=said(last)[:300], usage=usage)
    text = said(last)
    number = int(re.findall(r"\d+", text)[-1])
    if text.startswith("keep"):
        return Answer(calls=(Call("pin", {"key": "fact", "text": FACT}),), usage=usage)
    if text.startswith("recall"):
        pinned = [one for one in map(said, request.messages) if "Pinned, word for word" in one and FACT in one]
        return Answer(text=FACT if pinned else "I do not know", usage=usage)
    if text.startswith("turn"):
        return Answer(calls=(Call("read_history", {"turn": number}),), usage=usage)
    if text.startswith("find"):
        return Answer(calls=(Call("read_history", {"query": f"question-{number}-"}),), usage=usage)
    if text.startswith("output"):
        return Answer(calls=(Call("read_history", {"seq": number}),), usage=usage)
    return Answer(calls=(Call("look", {"number": number}),), usage=usage)


def said(message: UserMessage | AssistantMessage | ToolMessage) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, Text))


async def _talk(session: SessionHandle, turns: int) -> list[float]:
    """CPU seconds of each turn."""
    took: list[float] = []
    for turn in range(1, turns + 1):
        began = time.process_time()
        text = f"keep this: {FACT} {turn}" if turn == 3 else f"question-{turn}- " + "and so on " * 30 + str(turn)
        assert await session.ask(text)
        took.append(time.process_time() - began)
    return took


def _prefixes(log: list[ev.Event], *, every: int) -> State:
    """Every prefix is a transcript that providers accept: all around a compaction, and each `every`th."""
    state = State()
    near = 0
    for place, event in enumerate(log):
        apply(state, event)
        near = 20 if isinstance(event, ContextElided | ContextCompacted) else near - 1
        if near > 0 or place % every == 0:
            check_transcript(transcript(state))
    return state


async def _endless(home: Path, turns: int) -> str:
    """What it costs, for people."""
    provider = Provider()
    clerk = Agent(
        "a", model=provider.model, tools=[look, "pin", "unpin", "read_history"], instructions="You look at rows."
    )
    async with running(home, clerk) as runtime:
        session = await runtime.session("a")
        took = await _talk(session, turns)
        assert await session.ask(f"recall {turns}") == FACT
        old = turns // 3
        assert f"question-{old}-" in await session.ask(f"turn {old}")
        assert f"question-{old}-" in await session.ask(f"find {old}")
        assert "keep this" in await session.ask("turn 3")
        log: list[ev.Event] = []
        while page := await runtime.sessions.history(session.id, after=len(log)):
            log += [record.event for record in page]
        output = next(place for place, event in enumerate(log, 1) if isinstance(event, ev.ToolCompleted))
        assert "Row 1: what stands" in await session.ask(f"output {output}")
        view = await session.inspect()
    assert provider.largest + OUTPUT <= WINDOW
    assert "model.failed" not in kinds(log)
    assert "model.notice" not in kinds(log)
    compacted = [event for event in log if isinstance(event, ContextCompacted)]
    elided = [event for event in log if isinstance(event, ContextElided)]
    assert compacted
    assert elided
    assert all(event.by == "model" and event.after < event.before for event in compacted)
    assert all(event.after < event.before for event in elided)
    assert provider.summaries == len(compacted)
    assert provider.foreign == 0, "a summary was asked for with another conversation"
    assert provider.breaks <= len(compacted) + len(elided)
    state = _prefixes(log, every=10 if turns > 1_000 else 3)
    assert state.scale["scripted"] == pytest.approx(REAL, rel=0.05)
    assert FACT in said(head(state.part(CompactionState).pins, "") or UserMessage(()))
    assert view.turns == turns + 5
    sample = min(100, turns // 4)
    early, late = sorted(took[sample : 2 * sample]), sorted(took[-sample:])
    first, last = early[sample // 2] * 1e3, late[sample // 2] * 1e3
    assert last < 2 * first + 1.0, "a turn costs more the longer the session is"
    return (
        f"{turns} turns, {len(log)} events, {len(compacted)} summaries, {len(elided)} elisions, "
        f"largest request {provider.largest}, CPU of a turn {first:.2f} ms early, {last:.2f} ms late"
    )


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_long_session_stays_inside_its_window_and_forgets_nothing(tmp_path: Path) -> None:
    print(await _endless(tmp_path, TURNS))
