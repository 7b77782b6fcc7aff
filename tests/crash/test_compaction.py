"""A crash before and after every commit of a compaction: it is made again, and what it cost is known."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest

from roost.agent.definition import Agent, Limits
from roost.log import events as ev
from roost.log.content import Usage
from roost.log.store import open_store
from roost.testing.crash.hands import Hands
from roost.testing.crash.inside import crash_inside
from roost.testing.crash.killing import When
from roost.testing.crash.plans import AGENT, message
from roost.testing.provider import ProviderServer
from roost.testing.script import Reply, Rule, Script

_AT_ONCE = 4
_FIRST = 9
"""Commits of the first turn are struck elsewhere."""
_WANTED = {"compaction.started", "context.compacted", "reserve", "settle"}
_LONG = "a word and another one " * 150
_SCRIPT = Script(
    rules=(
        Rule(when="[This is not from the user.]", answers=(Reply(text="What was said, in short."),)),
        Rule(answers=(Reply(text="This is the answer to {input}"),)),
    ),
    delay=(0.0, 0.004),
)


async def _fill_and_ask(user: Hands) -> None:
    """The first compaction is the second turn's own, the other one a person's."""
    await user.send(f"{_LONG} {message('say')}")
    await user.settle()
    await user.send(f"{_LONG} {message('say')}")
    await user.settle()
    await user.control("compact")
    await user.until(lambda log: len(_compactions(log)) == 2, "the second compaction")


def _compactions(log: Sequence[ev.Event]) -> list[ev.ContextCompacted]:
    return [event for event in log if isinstance(event, ev.ContextCompacted)]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_compaction_survives_any_instant(tmp_path: Path, when: When) -> None:
    struck: list[str] = []
    kinds: set[str] = set()
    again = lost = 0
    for round in range(4):  # what is written at the same time makes commit N another one now and then
        for start in itertools.count(_FIRST, _AT_ONCE):
            places = [tmp_path / f"{round}.{at}" for at in range(start, start + _AT_ONCE)]
            found = await asyncio.gather(*(_crash(home, start + at, when) for at, home in enumerate(places)))
            struck += [name for name, _, _ in found if name is not None]
            again += sum(attempts for _, attempts, _ in found)
            lost += sum(cost for _, _, cost in found)
            if None in [name for name, _, _ in found]:
                break
        kinds = {kind for name in struck for kind in name.removeprefix(f"{when} ").removeprefix("append ").split("+")}
        if kinds >= _WANTED and again > 1 and lost > 1:
            return
    raise AssertionError(f"{again} times between intent and outcome, {lost} times where it had cost; struck {kinds}")


async def _crash(home: Path, at: int, when: When) -> tuple[str | None, int, int]:
    """(the commit at which it died, attempts beyond the first, what crashes have cost, counted)."""
    home.mkdir(parents=True)
    with ProviderServer(_SCRIPT) as provider:
        model = f"{provider.url}#scripted"
        entry = "window = 3000\nmax_output = 300\nprice = { input = 2.0, output = 10.0 }"
        (home / "models.toml").write_text(f'[models."{model}"]\n{entry}\n')
        limits = Limits(money=5.0, session_money=20.0)
        team = [Agent(AGENT, model=model, permissions="all", limits=limits)]
        run = await crash_inside(
            home, team, _fill_and_ask, agent=AGENT, at=at, when=when, witness=home / "witness.jsonl"
        )
        assert provider.stats.violations == 0, provider.stats.reasons
    again, lost = await _compare(home / "roost.db", run.struck)
    return run.struck, again, lost


async def _compare(store: Path, struck: str | None) -> tuple[int, int]:
    journal = await open_store(store)
    try:
        log = [record.event for record in await journal.read("s")]
        balance = await journal.balance("session:s")
    finally:
        await journal.close()
    told: list[Usage | None] = [
        event.usage
        for event in log
        if isinstance(event, ev.ModelCompleted | ev.ModelFailed | ev.ModelLost | ev.ContextCompacted)
    ]
    assert sum(usage.cost or 0 for usage in told if usage is not None) == balance.spent, struck
    assert balance.reserved == 0, struck
    done = _compactions(log)
    assert len(done) == 2, struck
    assert all(event.upto and event.after < event.before for event in done), struck
    attempts = [event.attempt for event in log if isinstance(event, ev.CompactionStarted)]
    return sum(attempt > 1 for attempt in attempts), sum(isinstance(event, ev.ModelLost) for event in log)
