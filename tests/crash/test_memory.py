"""A crash at any instant of a turn that remembers: every fact is there once, and the log tells of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeAlias

import pytest

from roost.agent.definition import Agent
from roost.features.memory.events import ConsolidationStarted, MemoryChanged, MemoryConsolidated
from roost.log import events as ev
from roost.log.facts import FactQuery
from roost.memory.rights import Consolidate, Memory
from roost.runtime import Runtime
from roost.stores.open import open_store
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call, ScriptedModel, by_step
from tests.crash.support import begun_and_killed
from tests.harness.crash.actions import Strike
from tests.harness.crash.hands import Hands
from tests.harness.crash.inside import CONFIG, crash_inside
from tests.harness.crash.killing import When
from tests.harness.crash.plans import AGENT, message
from tests.harness.postgres.server import PostgresServer
from tests.kernel.support import calling

_AT_ONCE = 4
_SPACE = f"agent:{AGENT}"
_TOOLS = ["remember", "update_memory", "forget", "recall"]
_SCRIPT = Script(
    rules=(
        Rule(
            when="[say]",
            answers=(
                Reply(
                    text="I keep that.",
                    calls=(
                        Call("remember", {"text": "The port is 8080", "scope": "agent", "key": "port"}),
                        Call("remember", {"text": "The office is in Oslo", "scope": "agent"}),
                    ),
                ),
                Reply(
                    text="It has changed.",
                    calls=(Call("remember", {"text": "The port is 9090", "scope": "agent", "key": "port"}),),
                ),
                Reply(text="This is the answer to {input}"),
            ),
        ),
    ),
    delay=(0.0, 0.004),
)


async def _remember(user: Hands) -> None:
    await user.send(message("say"))


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_at_any_commit_doubles_and_loses_nothing(tmp_path: Path, when: When) -> None:
    struck: list[str] = []
    for start in itertools.count(1, _AT_ONCE):
        places = range(start, start + _AT_ONCE)
        found = await asyncio.gather(*(_crash(tmp_path / str(at), at, when) for at in places))
        struck += [name for name in found if name is not None]
        if None in found:
            break
    if sum("memory.changed" in name for name in struck) < 2:  # what is written at the same time may share a commit
        for at in (1, 2):
            assert await _crash(tmp_path / f"changed.{at}", at, when, only="memory.changed")


async def _crash(home: Path, at: int, when: When, *, only: str = "") -> str | None:
    home.mkdir(parents=True)
    with ProviderServer(_SCRIPT) as provider:
        team = [Agent(AGENT, model=f"{provider.url}#scripted", tools=_TOOLS, permissions="all", memory=Memory())]
        run = await crash_inside(
            home, team, _remember, agent=AGENT, at=at, when=when, witness=home / "witness.jsonl", only=only
        )
        assert provider.stats.violations == 0, provider.stats.reasons
    store = await open_store(home / "roost.db")
    try:
        current = await store.facts.find(FactQuery(spaces=(_SPACE,)))
        every = await store.facts.find(FactQuery(spaces=(_SPACE,), ended=True))
        log = await store.logs.read("s")
    finally:
        await store.close()
    assert sorted(fact.text for fact in current) == ["The office is in Oslo", "The port is 9090"], run.struck
    assert len(every) == 3, run.struck
    told = {record.seq: record.event for record in log if isinstance(record.event, MemoryChanged)}
    assert len(told) == 3, run.struck
    for fact in every:
        event = told[int(str(fact.source).removeprefix("s:"))]
        assert isinstance(event, MemoryChanged)
        assert event.facts[0].id == fact.id, run.struck
    return run.struck


_CONSOLIDATED = Script(
    rules=(
        Rule(
            when="[This is not from the user.]",
            answers=(Reply(text='[{"text": "The port is 8080", "key": "port"}, {"text": "The office is in Oslo"}]'),),
        ),
        Rule(answers=(Reply(text="This is the answer to {input}"),)),
    ),
    delay=(0.0, 0.004),
)


Lend: TypeAlias = Callable[[], AbstractAsyncContextManager[str | None]]
"""Lends the address of an empty store, or None: the home's own."""
_WHEN_FULL = Consolidate(turns=1, into="agent")
_WHEN_IDLE = Consolidate(turns=100, idle=0.2, into="agent")


@pytest.fixture(params=["sqlite", "postgres"])
def lend(request: pytest.FixtureRequest) -> Lend:
    if request.param == "sqlite":
        return contextlib.nullcontext
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return postgres.borrowed


async def _consolidate(user: Hands) -> None:
    """One that was cut off is made again by itself: no next turn is waited for."""
    for turn in (1, 2):
        await user.send(message("say"))
        await user.until(lambda log, turn=turn: _upto(log) == turn, f"the consolidation of turn {turn}")


def _upto(log: Sequence[ev.Event]) -> int:
    return max((event.upto for event in log if isinstance(event, MemoryConsolidated)), default=0)


@pytest.mark.parametrize(
    ("settings", "when"),
    [(_WHEN_FULL, "before"), (_WHEN_FULL, "after"), (_WHEN_IDLE, "after")],
    ids=["full-before", "full-after", "idle-after"],
)
async def test_a_consolidation_survives_any_instant(tmp_path: Path, settings: Consolidate, when: When) -> None:
    """Before every third commit: what is on the disk then is what was there after the commit before."""
    every = 3 if when == "before" else 1
    assert len(await _strike_all(tmp_path, settings, when, every=every)) > 8 / every


@pytest.mark.parametrize("settings", [_WHEN_FULL, _WHEN_IDLE], ids=["full", "idle"])
async def test_a_consolidation_survives_what_matters(tmp_path: Path, settings: Consolidate, lend: Lend) -> None:
    """Which number a commit has depends on how fast the machine is: these are struck by their names."""
    blows = [
        Strike(1, "before", "consolidation.started"),
        Strike(1, "after", "consolidation.started"),
        Strike(1, "before", "memory.consolidated"),
        Strike(1, "after", "memory.consolidated"),
        *([Strike(1, "after", "fire")] if settings.idle is not None else []),
    ]

    async def one(place: int, blow: Strike) -> str | None:
        async with lend() as store:
            return await _crash_consolidating(tmp_path / str(place), blow, settings, store)

    struck = await asyncio.gather(*(one(*each) for each in enumerate(blows)))
    assert None not in struck, struck


async def _strike_all(folder: Path, settings: Consolidate, when: When, *, every: int) -> list[str]:
    """The commits that were struck, one in each run: each `every`-th that there is."""
    struck: list[str] = []
    for start in itertools.count(1, _AT_ONCE * every):
        blows = [Strike(at, when) for at in range(start, start + _AT_ONCE * every, every)]
        found = await asyncio.gather(*(_crash_consolidating(folder / str(one.at), one, settings) for one in blows))
        struck += [name for name in found if name is not None]
        if None in found:
            break
    return struck


async def _crash_consolidating(home: Path, blow: Strike, settings: Consolidate, store: str | None = None) -> str | None:
    home.mkdir(parents=True)
    with ProviderServer(_CONSOLIDATED) as provider:
        memory = Memory(recall="tool", consolidate=settings)
        team = [Agent(AGENT, model=f"{provider.url}#scripted", memory=memory)]
        witness = home / "witness.jsonl"
        run = await crash_inside(home, team, _consolidate, agent=AGENT, witness=witness, store=store, **blow._asdict())
        assert provider.stats.violations == 0, provider.stats.reasons
    journal = await open_store(store or home / "roost.db")
    try:
        every = await journal.facts.find(FactQuery(spaces=(_SPACE,), ended=True))
        log = [record.event for record in await journal.logs.read("s")]
        dump = await journal.portable.dump("s")
    finally:
        await journal.close()
    assert sorted(fact.text for fact in every) == ["The office is in Oslo", "The port is 8080"], run.struck
    assert sum(isinstance(event, MemoryChanged) for event in log) == 2, run.struck
    ended = [event for event in log if isinstance(event, MemoryConsolidated)]
    assert {event.error for event in ended} == {None}, run.struck
    assert [event.upto for event in ended] == [1, 2], run.struck
    assert sum(event.facts for event in ended) == 2, run.struck
    assert sum(isinstance(event, ConsolidationStarted) for event in log) <= 3, run.struck
    assert dump.timers == (), run.struck
    return run.struck


_CHILD = """
import asyncio, sys
from pathlib import Path
from roost.runtime import Runtime
from roost.log import events as ev
from roost.features.memory.duties import MemoryDuties
from tests.crash.test_memory import Slow, team

async def main():
    runtime = Runtime(Path(sys.argv[1]), agents=team())
    await runtime.start()
    runtime.node.feature(MemoryDuties).index._embedder = Slow
    await runtime.memory.add("user:x", "something to compare with")
    session = await runtime.session("a", id="s")
    await session.send("go")
    await session.bus.wait_for(ev.ToolStarted, after=0, timeout=20)
    print("began", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


class Slow:
    """An embedder that never answers: the call that remembers waits for it."""

    name, size = "test/slow", 8

    async def embed(self, job: object) -> list[bytes]:
        await asyncio.sleep(60)
        return []

    async def close(self) -> None:
        return None


def team() -> list[Agent]:
    answers = [calling("remember", text="The port is 8080", scope="agent"), "done"]
    return [Agent("a", model=ScriptedModel(by_step(answers)), tools=_TOOLS, permissions="all")]


async def test_kill_9_between_intent_and_outcome(tmp_path: Path) -> None:
    await begun_and_killed(_CHILD, tmp_path)
    async with Runtime(tmp_path, agents=team(), config=CONFIG) as runtime:
        assert (await runtime.memory.list(space="agent:a")).facts == []
        session = runtime.open("s")
        await session.bus.wait_for(ev.TurnCompleted, after=0, timeout=20)
        log = [record.event for record in await runtime.sessions.history("s")]
        assert [event.attempt for event in log if isinstance(event, ev.ToolStarted)] == [1, 2]
        assert [event.outcome for event in log if isinstance(event, ev.ToolCompleted)] == ["ok"]
        (fact,) = (await runtime.memory.list(space="agent:a", ended=True)).facts
        assert fact.text == "The port is 8080"
