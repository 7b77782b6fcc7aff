"""A crash before and after every single commit of every scenario, and nothing that was promised is lost."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeAlias

import pytest

from roost.stub.provider import ProviderServer
from tests.harness.crash import scenarios
from tests.harness.crash.inside import crash_inside
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
_EVERY = 2
"""Of the commits after which the other cases are struck: from one case to the next they begin one later, so that all of
them together strike every kind of commit. `make soak` strikes each."""
_AT_ONCE = 4
"""Homes that are played in at the same time: most of a play is waiting."""


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderServer]:
    with ProviderServer(script(delay=(0.0, 0.004))) as server:
        yield server


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("case", _CASES)
async def test_crash_at_many_commits(tmp_path: Path, provider: ProviderServer, case: str, when: When) -> None:
    every = 1 if case in _ON_POSTGRES else 3 if when == "before" else _EVERY
    await _strike(tmp_path, provider, case, when, contextlib.nullcontext, every)


@pytest.mark.soak
@pytest.mark.parametrize("case", [case for case in _CASES if case not in _ON_POSTGRES])
async def test_crash_after_every_commit(tmp_path: Path, provider: ProviderServer, case: str) -> None:
    await _strike(tmp_path, provider, case, "after", contextlib.nullcontext, 1)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("case", _ON_POSTGRES)
async def test_crash_at_every_commit_on_postgres(
    tmp_path: Path, provider: ProviderServer, postgres: PostgresServer, case: str, when: When
) -> None:
    await _strike(tmp_path, provider, case, when, postgres.borrowed, 1)


async def _strike(tmp_path: Path, provider: ProviderServer, case: str, when: When, store: Store, every: int) -> None:
    crash = functools.partial(_crash, provider, case, when, store)
    struck: list[str] = []
    first = 1 + [*_CASES].index(case) % every
    for start in itertools.count(first, _AT_ONCE * every):
        places = range(start, start + _AT_ONCE * every, every)
        found = await asyncio.gather(*(crash(tmp_path / str(at), at) for at in places))
        struck += [name for name in found if name is not None]
        if None in found:
            break
    assert len(struck) >= 8 // every
    if case == "two_tools":
        # what is written at the same time shares commits now so, now otherwise: commit N is not always the same one
        for kind in sorted(_WANTED - _kinds(struck, when)):
            assert await crash(tmp_path / kind, 1, only=kind)
    assert provider.stats.violations == 0, provider.stats.reasons


def _kinds(struck: list[str], when: When) -> set[str]:
    return {kind for name in struck for kind in name.removeprefix(f"{when} append ").split("+")}


async def _crash(
    provider: ProviderServer, case: str, when: When, store: Store, home: Path, at: int, *, only: str = ""
) -> str | None:
    """The commit at which it died."""
    home.mkdir()
    agent, scenario = _CASES[case]
    witness = home / "witness.jsonl"
    team = agents(f"{provider.url}#scripted", witness, delay=(0.0, 0.01))
    async with store() as url:
        run = await crash_inside(
            home, team, scenario, agent=agent, at=at, when=when, witness=witness, only=only, store=url
        )
    shutil.rmtree(home)
    return run.struck
