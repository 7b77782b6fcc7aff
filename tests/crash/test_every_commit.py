"""A crash before and after every single commit of every scenario, and nothing that was promised is lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeAlias

import pytest

from roost.stub.provider import ProviderServer
from tests.harness.crash import scenarios
from tests.harness.crash.inside import Scenario, crash_inside
from tests.harness.crash.killing import When
from tests.harness.crash.plans import AGENT, CAREFUL, agents, script
from tests.harness.postgres.server import PostgresServer

Store: TypeAlias = Callable[[], AbstractAsyncContextManager[str | None]]
"""Lends the address of an empty one, or None: the home's own."""
_CASES = {
    "two_tools": (AGENT, scenarios.two_tools),
    "parallel_readers": (AGENT, scenarios.parallel_readers),
    "steer": (AGENT, scenarios.steer),
    "cancel": (AGENT, scenarios.cancel),
    "pause_and_resume": (AGENT, scenarios.pause_and_resume),
    "replay_asks": (AGENT, scenarios.replay_asks),
    "replay_is_rejected": (AGENT, scenarios.replay_is_rejected),
    "steer_past_a_replay": (AGENT, scenarios.steer_past_a_replay),
    "approvals": (CAREFUL, scenarios.approvals),
    "timer": (AGENT, scenarios.timer),
    "schedule": (AGENT, scenarios.schedule),
    "client_tools": (AGENT, scenarios.client_tools),
}

_WANTED = {"input.received", "model.started", "tool.started", "tool.completed", "turn.completed"}
_ON_POSTGRES = ("two_tools", "timer")
"""Between them they have every kind of commit. The others are struck before every third one alone: what is on the disk
then is what was there after the commit before, which is struck too."""
_AT_ONCE = 4
"""Homes that are played in at the same time: most of a play is waiting."""


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderServer]:
    with ProviderServer(script(delay=(0.0, 0.004))) as server:
        yield server


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("case", _CASES)
async def test_crash_at_every_commit(tmp_path: Path, provider: ProviderServer, case: str, when: When) -> None:
    await _strike_everywhere(tmp_path, provider, case, when, contextlib.nullcontext)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("case", _ON_POSTGRES)
async def test_crash_at_every_commit_on_postgres(
    tmp_path: Path, provider: ProviderServer, postgres: PostgresServer, case: str, when: When
) -> None:
    await _strike_everywhere(tmp_path, provider, case, when, postgres.borrowed)


async def _strike_everywhere(tmp_path: Path, provider: ProviderServer, case: str, when: When, store: Store) -> None:
    agent, scenario = _CASES[case]
    every = 3 if when == "before" and case not in _ON_POSTGRES else 1
    struck = await _exhaust(tmp_path / "0", provider, agent, scenario, when, store, every=every)
    assert len(struck) >= 8 / every
    if case == "two_tools":
        # what is written at the same time shares commits now so, now otherwise: commit N is not always the same one
        for again in range(1, 6):
            if _kinds(struck, when) >= _WANTED:
                break
            struck += await _exhaust(tmp_path / str(again), provider, agent, scenario, when, store)
        assert _kinds(struck, when) >= _WANTED
    assert provider.stats.violations == 0, provider.stats.reasons


def _kinds(struck: list[str], when: When) -> set[str]:
    return {kind for name in struck for kind in name.removeprefix(f"{when} append ").split("+")}


async def _exhaust(
    folder: Path, provider: ProviderServer, agent: str, scenario: Scenario, when: When, store: Store, *, every: int = 1
) -> list[str]:
    """The commits at which it died, of each `every`-th."""

    async def crash(at: int) -> str | None:
        home = folder / str(at)
        home.mkdir(parents=True)
        witness = home / "witness.jsonl"
        team = agents(f"{provider.url}#scripted", witness, delay=(0.0, 0.01))
        async with store() as url:
            run = await crash_inside(home, team, scenario, agent=agent, at=at, when=when, witness=witness, store=url)
        shutil.rmtree(home)
        return run.struck

    struck: list[str] = []
    for start in itertools.count(1, _AT_ONCE * every):
        found = await asyncio.gather(*(crash(at) for at in range(start, start + _AT_ONCE * every, every)))
        struck += [name for name in found if name is not None]
        if None in found:
            break
    return struck
