"""A crash before and after every commit of a parent and its children: every task ends once, and its end arrives."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from roost.agent.definition import Agent, Children, Limits
from roost.kernel.runtime import Runtime
from roost.log import events as ev
from roost.log.journal import SessionQuery
from roost.log.store import Store, open_store
from roost.testing.crash.hands import Hands
from roost.testing.crash.inside import CONFIG, crash_inside
from roost.testing.crash.killing import When
from roost.testing.crash.plans import AGENT
from roost.testing.provider import ProviderServer
from roost.testing.script import Reply, Rule, Script
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

_AT_ONCE = 4
_TWO, _MONEY = Children(agents=("*",), at_once=2), Limits(session_money=20.0)
_ANSWER = Reply(text="This is the answer to {input}")
_WANTED = {"create", "tool.started", "child.started", "child.ended", "turn.completed"}


def _task(number: int, **more: object) -> Call:
    return Call("task", {"agent": "helper", "prompt": f"Please do [say] #{number}.", **more})


_SCRIPT = Script(
    rules=(
        Rule(
            when="[tasks]",
            answers=(
                Reply(text="Three at once.", calls=(_task(901), _task(902, deadline=600), _task(903))),
                Reply(text="One more.", calls=(_task(904, background=True),)),
                _ANSWER,
            ),
        ),
        Rule(when="[say]", answers=(_ANSWER,)),
    ),
    delay=(0.0, 0.004),
)


async def _delegate(user: Hands) -> None:
    await user.send("Please do [tasks] #900.")
    await user.until(lambda log: sum(isinstance(event, ev.ChildEnded) for event in log) == 4, "the end of four tasks")
    await user.until(lambda log: sum(isinstance(event, ev.TurnCompleted) for event in log) == 2, "what was told")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_every_end_arrives_once(tmp_path: Path, when: When) -> None:
    kinds: set[str] = set()
    for round in range(3):  # several sessions write at the same time: commit N is another one now and then
        for start in itertools.count(1, _AT_ONCE):
            places = [tmp_path / f"{round}.{at}" for at in range(start, start + _AT_ONCE)]
            found = await asyncio.gather(*(_crash(home, start + at, when) for at, home in enumerate(places)))
            for name in found:
                kinds |= set((name or "").removeprefix(f"{when} ").removeprefix("append ").split("+"))
            if None in found:
                break
        if kinds >= _WANTED:
            return
    raise AssertionError(f"struck {kinds}")


async def _crash(home: Path, at: int, when: When) -> str | None:
    home.mkdir(parents=True)
    with ProviderServer(_SCRIPT) as provider:
        model = f"{provider.url}#scripted"
        (home / "models.toml").write_text(f'[models."{model}"]\nprice = {{ input = 2.0, output = 10.0 }}\n')
        team = [
            Agent(AGENT, model=model, tools=["task"], permissions="all", children=_TWO, limits=_MONEY),
            Agent("helper", model=model, callable_by=(AGENT,)),
        ]
        run = await crash_inside(home, team, _delegate, agent=AGENT, at=at, when=when, witness=home / "witness.jsonl")
        assert provider.stats.violations == 0, provider.stats.reasons
    store = await open_store(home / "roost.db")
    try:
        await _look(store, run.struck)
    finally:
        await store.close()
    shutil.rmtree(home)
    return run.struck


async def _look(store: Store, struck: str | None) -> None:
    log = [record.event for record in await store.read("s")]
    started = Counter(event.child for event in log if isinstance(event, ev.ChildStarted))
    ended = Counter(event.child for event in log if isinstance(event, ev.ChildEnded))
    assert started == ended, struck
    assert set(started.values()) == {1}, struck
    assert {event.outcome for event in log if isinstance(event, ev.ChildEnded)} == {"answered"}, struck
    assert {event.outcome for event in log if isinstance(event, ev.ToolCompleted)} == {"ok"}, struck
    children = await store.find(SessionQuery(parent="s"))
    assert {info.id for info in children} == set(started), struck
    for info in children:
        own = [record.event for record in await store.read(info.id)]
        assert sum(isinstance(event, ev.TurnCompleted) for event in own) == 1, struck
        assert sum(isinstance(event, ev.InputReceived) for event in own) == 1, struck
        assert info.pending == 0, struck
        log += own
    said = [event.source for event in log if isinstance(event, ev.InputReceived)]
    assert sum(str(source).startswith("child:") for source in said) == 1, struck
    spent = [event.usage for event in log if isinstance(event, ev.ModelCompleted | ev.ModelFailed | ev.ModelLost)]
    balance = await store.balance("tree:s")
    assert balance.spent == sum(usage.cost or 0 for usage in spent if usage is not None) > 0, struck
    assert balance.reserved == 0, struck


_PROCESS = """
import asyncio, sys
from pathlib import Path
from roost.kernel.runtime import Runtime
from roost.log import events as ev
from tests.crash.test_children import team

async def main():
    runtime = Runtime(Path(sys.argv[1]), agents=team(delay=60.0))
    await runtime.start()
    session = await runtime.session("boss", id="s")
    await session.send("go")
    started = await session.bus.wait_for(ev.ChildStarted, after=0, timeout=20)
    await runtime.open(started.child).bus.wait_for(ev.ModelStarted, after=0, timeout=20)
    print("began", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def team(delay: float = 0.0) -> list[Agent]:
    call = Answer(calls=(Call("task", {"agent": "helper", "prompt": "do it", "deadline": 600}),))
    boss = Agent("boss", model=ScriptedModel(by_step([call, "done"])), tools=["task"], permissions="all", children=_TWO)
    slow = ScriptedModel(lambda _: Answer(text="did it", delay=delay))
    return [boss, Agent("helper", model=slow, callable_by=("boss",))]


async def test_kill_9_while_a_child_works(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _PROCESS,
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "."},
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(40):
            assert await process.stdout.readline() == b"began\n"
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    async with Runtime(tmp_path, agents=team(), config=CONFIG) as runtime:
        session = runtime.open("s")
        end = await session.bus.wait_for(ev.TurnCompleted, after=0, timeout=20)
        assert end.outcome == "answered"
        log = [record.event for record in await runtime.sessions.history("s")]
        assert [event.outcome for event in log if isinstance(event, ev.ChildEnded)] == ["answered"]
        [child] = (await runtime.sessions.tree("s"))[1:]
        own = [record.event for record in await runtime.sessions.history(child.id)]
        assert [event.attempt for event in own if isinstance(event, ev.ModelStarted)] == [1, 2]
        assert (await session.inspect()).timers == {}
