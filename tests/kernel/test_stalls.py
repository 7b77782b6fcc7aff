"""Turns that get nowhere: when that is seen, and what is done about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.agent.definition import Agent, Limits
from roost.agent.options import Stall
from roost.features.stalls.detection import found
from roost.features.stalls.events import LoopStalled
from roost.features.stalls.state import Trail
from roost.log import events as ev
from roost.log.content import Text, ToolMessage
from roost.models.request import Request
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.tools.base import Tool
from roost.tools.errors import ToolError
from roost.tools.function import tool
from tests.examples import examples

from .policies import found as of
from .support import events, running, until

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
ALL = Limits(steps=60)


def tools() -> list[Tool]:
    ticks = iter(range(1000))

    @tool(replay="safe", safety="read_only")
    async def look(what: str = "x") -> str:
        """Look."""
        return f"saw {what}"

    @tool(replay="safe", safety="read_only")
    async def tick() -> str:
        """What is new each time."""
        return str(next(ticks))

    @tool(replay="safe", safety="read_only")
    async def fail() -> str:
        """What never goes well."""
        raise ToolError(f"no {next(ticks)}")

    return [look, tick, fail]


def script(calls: Callable[[int], list[Call]], steps: int) -> Callable[[Request], Answer | str]:
    def answer(request: Request) -> Answer | str:
        step = sum(isinstance(message, ToolMessage) for message in request.messages)
        return Answer(calls=tuple(calls(step))) if step < steps else "end"

    return answer


def look(step: int) -> list[Call]:
    return [Call("look")]


async def played(home: Path, calls: Callable[[int], list[Call]], steps: int, **more: Any) -> tuple[Any, list[ev.Event]]:
    model = ScriptedModel(script(calls, steps))
    clerk = Agent("a", model=model, tools=[*tools(), "shell"], permissions="all", limits=ALL, **more)
    async with running(home, clerk) as runtime:
        session = await runtime.session("a")
        await session.send("go")
        await until(session, ev.TurnCompleted)
        return model, await events(session, runtime)


def what(log: list[ev.Event]) -> list[tuple[str, int, str, int]]:
    return [(event.kind, event.count, event.action, event.step) for event in of(log, LoopStalled)]


@pytest.mark.parametrize(
    ("calls", "steps", "kind"),
    [
        (look, 6, ("repeat", 5, "hint", 5)),
        (lambda step: [Call("look", {"what": "ab"[step % 2]})], 9, ("cycle", 4, "hint", 8)),
        (lambda step: [Call("look", {"what": "abcde"[step * step % 5]})], 20, ("no_progress", 12, "hint", 15)),
        (lambda step: [Call("fail")], 9, ("errors", 8, "hint", 8)),
    ],
)
async def test_it_is_seen(tmp_path: Path, calls: Any, steps: int, kind: tuple[str, int, str, int]) -> None:
    model, log = await played(tmp_path, calls, steps)
    assert what(log)[0] == kind
    (told, *_) = of(log, LoopStalled)
    heard = [
        request.messages[-1]
        for request in model.requests
        if isinstance(request.messages[-1], ToolMessage) and Text(told.hint) in request.messages[-1].parts
    ]
    assert len(heard) == 1
    assert of(log, ev.TurnCompleted)[0].outcome == "answered"


@pytest.mark.parametrize(
    ("command", "kind"),
    [("echo {}; exit 3", "errors"), ("echo {}; kill -9 $$", "errors"), ("echo {}", None)],
)
async def test_commands_that_fail_are_errors(tmp_path: Path, command: str, kind: str | None) -> None:
    _, log = await played(tmp_path, lambda step: [Call("shell", {"command": command.format(step)})], 9)
    assert [event.outcome for event in of(log, ev.ToolCompleted)] == ["ok"] * 9
    assert {event.code for event in of(log, ev.ToolCompleted)} == {3 if "3" in command else -9 if kind else 0}
    assert [event.kind for event in of(log, LoopStalled)] == ([kind] if kind else [])


async def test_a_command_that_goes_well_ends_the_row(tmp_path: Path) -> None:
    def calls(step: int) -> list[Call]:
        return [Call("shell", {"command": f"echo {step}; exit {int(step % 7 > 0)}"})]

    _, log = await played(tmp_path, calls, 20)
    assert what(log) == []


@pytest.mark.parametrize(
    "calls",
    [
        lambda step: [Call("tick")],
        lambda step: [Call("look", {"what": str(step)})],
        lambda step: [Call("look"), Call("tick")],
    ],
)
async def test_what_brings_something_new_is_none(tmp_path: Path, calls: Any) -> None:
    _, log = await played(tmp_path, calls, 30)
    assert what(log) == []


async def test_each_time_more_is_tried(tmp_path: Path) -> None:
    model, log = await played(
        tmp_path, look, 40, stall=Stall(repeats=3, actions=("hint", "effort", "end")), effort="low"
    )
    assert what(log) == [("repeat", 3, action, step) for action, step in (("hint", 3), ("effort", 6), ("end", 9))]
    (turn,) = of(log, ev.TurnCompleted)
    assert (turn.outcome, turn.reason) == ("limit", "stalled: the same calls had the same results 3 times in a row")
    assert [request.effort for request in model.requests] == ["low"] * 6 + ["medium"] * 3


async def test_by_default_no_turn_is_ended_by_it(tmp_path: Path) -> None:
    _, log = await played(tmp_path, look, 40)
    assert [action for _, _, action, _ in what(log)] == ["hint", "effort"]
    assert of(log, ev.TurnCompleted)[0].outcome == "answered"


async def test_what_does_not_count_is_not_looked_at(tmp_path: Path) -> None:
    _, log = await played(tmp_path, look, 40, stall=Stall(repeats=None, cycles=None, stale=None))
    assert what(log) == []


async def test_another_model_goes_on(tmp_path: Path) -> None:
    asked = list[str]()

    def reply(body: dict[str, Any]) -> Reply:
        asked.append(body["model"])
        return Reply(text="end") if body["model"] == "strong" else Reply(calls=(Call("look"),))

    with ProviderServer(reply) as server:
        stall = Stall(repeats=3, actions=("model",), model=f"{server.url}#strong")
        clerk = Agent("a", model=f"{server.url}#weak", tools=tools(), permissions="all", stall=stall)
        async with running(tmp_path, clerk) as runtime:
            session = await runtime.session("a")
            assert await session.ask("go") == "end"
            log = await events(session, runtime)
            await session.ask("again")
    assert asked == [*["weak"] * 3, "strong"] * 2
    assert [event.model.partition("#")[2] or event.model for event in of(log, ev.ModelStarted)][-1].endswith("strong")


async def test_a_crash_does_not_begin_the_count_anew(tmp_path: Path) -> None:
    def slow(request: Request) -> Answer | str:
        said = script(look, 3)(request)
        return Answer(delay=30) if said == "end" else said

    async with running(tmp_path, Agent("a", model=ScriptedModel(slow), tools=tools(), permissions="all")) as runtime:
        session = await runtime.session("a")
        await session.send("go")
        while len(of(await events(session, runtime), ev.ModelStarted)) < 4:
            await asyncio.sleep(0.02)
    model = ScriptedModel(script(look, 6))
    async with running(tmp_path, Agent("a", model=model, tools=tools(), permissions="all")) as runtime:
        session = runtime.open(session.id)
        await until(session, ev.TurnCompleted)
        log = await events(session, runtime)
    assert len(of(log, ev.ToolCompleted)) == 6
    assert what(log) == [("repeat", 5, "hint", 5)]


def test_a_model_must_be_named() -> None:
    with pytest.raises(ValueError, match=r"stall\.model"):
        Stall(actions=("model",))
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"repeats": 1}, Stall)


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(st.sampled_from("abcd"), max_size=30), st.integers(2, 6), st.integers(2, 6))
def test_it_is_seen_as_by_hand(steps: list[str], repeats: int, cycles: int) -> None:
    """Beside a slow and plain reading of what the settings say."""
    marks = [ord(step) for step in steps]
    stale = 0
    for place, mark in enumerate(marks):
        stale = stale + 1 if mark in marks[:place] else 0
    wanted: str | None = None
    text = "".join(steps)
    if text and text.endswith(text[-1] * repeats):
        wanted = "repeat"
    elif any(len(text) >= length * cycles and text.endswith(text[-length:] * cycles) for length in (2, 3, 4)):
        wanted = "cycle"
    stall = Stall(repeats=repeats, cycles=cycles, stale=None)
    seen = found(Trail(steps=marks, stale=stale), stall)
    assert (seen and seen.kind) == wanted
