"""An agent that has the last so many messages: the older ones leave in groups, and its history has them all."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

from roost.agent.default_agent import default_agent
from roost.agent.definition import Agent
from roost.agent.options import Compaction
from roost.features.compaction.events import ContextCompacted
from roost.log.content import Message, Text, ToolMessage, UserMessage
from roost.models.request import Profile, Request
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.testing.transcript import check_transcript
from roost.tools.function import tool

from .support import asleep, calling, events, running

MOST = 12
HEAD = "[In place of earlier messages."


@tool(replay="safe", safety="read_only")
async def look(what: str = "x") -> str:
    """Look at something."""
    return f"saw {what}"


def text_of(message: Any) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, Text))


def conversation(request: Request) -> list[Message]:
    return [message for message in request.messages if not text_of(message).startswith(HEAD)]


class Talker:
    """Looks twice at once in every turn, then answers; pins in the third."""

    def __init__(self, compaction: Compaction | None) -> None:
        self.requests: list[Request] = []
        self.found = ""
        tools, model = [look, "pin", "read_history"], ScriptedModel(self._say)
        self.agent = Agent("a", model=model, tools=tools, permissions="all", compaction=compaction or Compaction())

    def _say(self, request: Request) -> Answer | str:
        self.requests.append(request)
        last = request.messages[-1]
        if isinstance(last, UserMessage):
            said = text_of(last)
            if "find" in said:
                return calling("read_history", turn=2)
            if "turn 3" in said:
                return calling("pin", key="bird", text="the bird is an owl")
            return Answer(calls=(Call("look", {"what": said}), Call("look", {"what": "more"})))
        self.found = text_of(last)
        return "done with it"


async def test_a_request_has_the_last_messages_and_the_rest_is_found(tmp_path: Path) -> None:
    talker = Talker(Compaction(messages=MOST))
    async with running(tmp_path, talker.agent) as runtime:
        session = await runtime.session("a")
        for number in range(1, 16):
            await session.ask(f"this is turn {number}")
        await asleep(runtime, session)
    async with running(tmp_path, talker.agent) as runtime:  # what left does not come back with a restart
        session = runtime.open(session.id)
        for number in range(16, 26):
            await session.ask(f"this is turn {number}")
        log = await events(session, runtime)
        left = [event for event in log if isinstance(event, ContextCompacted)]
        assert all(event.after < event.before and event.dropped >= MOST // 4 for event in left)
        assert {event.by for event in left} == {"plain"}
        sizes = [len(conversation(request)) for request in talker.requests]
        assert max(sizes) <= MOST
        for request in talker.requests:
            check_transcript(request.messages)
        last = talker.requests[-1].messages
        assert text_of(last[0]) == "this is turn 1", "the task stays"
        assert "the bird is an owl" in text_of(last[1])
        assert "read_history finds them" in text_of(last[1])
        assert _breaks(talker.requests) == len(left), "a provider's cache is broken once for each group"
        await session.ask("find the second turn")
        assert "this is turn 2" in talker.found
        assert "saw this is turn 2" in talker.found


def _breaks(requests: list[Request]) -> int:
    """Requests that do not begin as the one before them."""
    pairs = itertools.pairwise(requests)
    return sum(after.messages[: len(before.messages)] != before.messages for before, after in pairs)


async def test_without_a_number_and_below_it_nothing_leaves(tmp_path: Path) -> None:
    for compaction in (None, Compaction(messages=1000)):
        talker = Talker(compaction)
        async with running(tmp_path / str(compaction is None), talker.agent) as runtime:
            session = await runtime.session("a")
            for number in range(1, 12):
                await session.ask(f"turn {number}0")
            assert len(talker.requests[-1].messages) > 3 * MOST
            assert not any(isinstance(event, ContextCompacted) for event in await events(session, runtime))


async def test_no_call_loses_its_result_in_a_long_turn(tmp_path: Path) -> None:
    """More results at once than there may be messages, and a turn of many steps."""
    requests: list[Request] = []

    def say(request: Request) -> Answer | str:
        requests.append(request)
        step = len(requests)
        many = 3 * MOST if step == 4 else 1
        return "end" if step == 20 else Answer(calls=tuple(Call("look", {"what": f"{step}.{n}"}) for n in range(many)))

    walker = Agent("a", model=ScriptedModel(say), tools=[look], permissions="all", compaction=Compaction(messages=MOST))
    async with running(tmp_path, walker) as runtime:
        session = await runtime.session("a")
        assert await session.ask("the task") == "end"
    for number, request in enumerate(requests, 1):
        check_transcript(request.messages)
        assert text_of(conversation(request)[0]) == "the task"
        newest = 1 + sum(isinstance(message, ToolMessage) for message in request.messages) if number == 5 else 0
        assert len(conversation(request)) <= max(MOST, newest + 1)


async def test_the_built_in_assistant_finds_an_old_turn(tmp_path: Path) -> None:
    spec = default_agent().spec

    def say(request: Request) -> Answer | str:
        last = request.messages[-1]
        if isinstance(last, ToolMessage):
            return " ".join(re.findall(r"the code is \d+", text_of(last))) or "nothing"
        if "what was" in text_of(last):
            return calling("read_history", query="code")
        return "word " * 100

    model = ScriptedModel(say, profile=Profile(window=4_000, max_output=500))
    assistant = Agent("a", instructions=spec.instructions, model=model, tools=spec.tools)
    async with running(tmp_path, assistant) as runtime:
        session = await runtime.session("a")
        await session.ask("hello")
        await session.ask("remember: the code is 4711. " + "words " * 200)
        for number in range(20):
            await session.ask(f"{number} " + "question " * 50)
        seen = [text_of(message) for message in await runtime.sessions.transcript(session.id)]
        assert not any("remember: the code" in text and not text.startswith(HEAD) for text in seen)
        assert await session.ask("what was it?") == "the code is 4711"
