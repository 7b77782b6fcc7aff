"""Whatever is said, pinned, ordered and restarted, in whatever order: each request is one that providers accept, with
the task and what is pinned in it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from pathlib import Path

import pytest

from roost.agent.definition import Agent, Limits
from roost.agent.fold import apply
from roost.agent.options import Compaction
from roost.agent.state import State
from roost.features.compaction.state import CompactionState
from roost.log import events as ev
from roost.log.content import ErrorData, Text, UserMessage
from roost.models.request import Price, Profile, Request
from roost.runtime import Runtime, TurnFailed
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.testing.transcript import check_transcript
from roost.tools.function import tool

from .support import FAST

SEEDS = range(int(os.environ.get("ROOST_STORM_SEEDS", "3")))
ORDERS = 40


@tool(replay="safe", safety="read_only")
async def look(size: int) -> str:
    """Look at something."""
    return "seen, " * size


class Talk:
    """A model that does what it is told, and sometimes fails at a summary; what it is sent is checked."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.pins: dict[str, str] = {}
        self.task = ""
        self.replaced = False
        self.model = ScriptedModel(self.answer, profile=Profile(window=4_000, max_output=400, price=Price(10, 100)))

    def answer(self, request: Request) -> Answer:
        check_transcript(request.messages)
        last = request.messages[-1]
        said = _text(last)
        if said.startswith("[This is not from the user.]"):
            return self.chance.choice(
                [
                    Answer(text="in short: " + "words " * self.chance.randrange(400), delay=0.01),
                    Answer(error=ErrorData("overloaded", "not now")),
                    Answer(calls=(Call("look", {"size": 1}),)),
                    Answer(text="late", delay=5.0),
                ]
            )
        sent = [_text(message) for message in request.messages]
        assert self.replaced or self.task in sent
        for key, text in self.pins.items():
            assert any(f"{key}: {text}" in one for one in sent) or _in_calls(request, text), (key, text)
        if not isinstance(last, UserMessage):
            return Answer(text="done " * self.chance.randrange(1, 60))
        match said.split()[0]:
            case "look":
                size = self.chance.choice([10, 300, 3_000])
                return Answer(calls=tuple(Call("look", {"size": size}) for _ in range(self.chance.randrange(1, 4))))
            case "pin":
                key = said.split()[1]
                self.replaced = self.replaced or key == "task"
                self.pins[key] = text = f"fact {self.chance.randrange(10**9)}"
                return Answer(calls=(Call("pin", {"key": key, "text": text}),))
            case "unpin" if said.split()[1] in self.pins:
                del self.pins[said.split()[1]]
                return Answer(calls=(Call("unpin", {"key": said.split()[1]}),))
            case _:
                return Answer(text="well, " * self.chance.randrange(1, 80))

    def order(self) -> str:
        what = self.chance.choices(["say", "look", "pin", "unpin", "compact", "restart"], [6, 6, 2, 1, 2, 1])[0]
        if what in ("pin", "unpin"):
            return f"{what} {self.chance.choice(['a', 'b', 'task'])}"
        return what if what in ("compact", "restart") else f"{what} " + "more " * self.chance.randrange(200)


def _text(message: object) -> str:
    return "".join(part.text for part in getattr(message, "parts", ()) if isinstance(part, Text))


def _in_calls(request: Request, text: str) -> bool:
    return any(
        text in getattr(part, "arguments", "") for message in request.messages for part in getattr(message, "parts", ())
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_any_order_of_things(tmp_path: Path, seed: int) -> None:
    talk = Talk(seed)
    clerk = Agent(
        "a",
        model=talk.model,
        tools=[look, "pin", "unpin", "read_history"],
        permissions="all",
        limits=Limits(session_money=1.0),
        compaction=Compaction(seconds=0.3, keep_turns=talk.chance.randrange(3)),
    )
    runtime = await _up(tmp_path, clerk)
    talk.task = "say the task"
    try:
        session = await runtime.session("a", id="s")
        await session.ask(talk.task)
        for _ in range(ORDERS):
            order = talk.order()
            if order == "restart":
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(talk.chance.random() * 0.05):
                        await runtime.compaction.compact("s", wait=5.0)
                await runtime.stop(grace=0.0)
                runtime = await _up(tmp_path, clerk)
                session = runtime.open("s")
            elif order == "compact":
                await runtime.compaction.compact("s")
            else:
                with contextlib.suppress(TurnFailed):
                    await session.ask(order)
        await _check(runtime)
    finally:
        await runtime.stop(grace=0.2)


async def _up(home: Path, clerk: Agent) -> Runtime:
    runtime = Runtime(home, agents=[clerk], config=FAST)
    await runtime.start()
    return runtime


async def _check(runtime: Runtime) -> None:
    """At rest: no turn failed, the log says what the ledger says, and the state is the fold of the log."""
    async with asyncio.timeout(30):
        while (await runtime.sessions.get("s")).owner is not None:
            await asyncio.sleep(0.01)
    log: list[ev.Event] = []
    while page := await runtime.sessions.history("s", after=len(log)):
        log += [record.event for record in page]
    failed = [event for event in log if isinstance(event, ev.TurnCompleted) and event.outcome != "answered"]
    assert not failed, [event.reason for event in failed]
    state = State()
    for event in log:
        apply(state, event)
    view = await runtime.sessions.inspect("s")
    balance = await runtime.node.store.ledger.balance("session:s")
    assert (view.context_tokens, view.usage, view.pins) == (state.tokens, state.usage, state.part(CompactionState).pins)
    assert (state.usage.cost, balance.reserved) == (balance.spent, 0)
    assert state.seq == len(log) == view.info.head
    assert not state.part(CompactionState).compact
