"""A crash at any commit of time travel, a compaction, a consolidation, work for children and a firing, on both stores:
the runtime is cut off inside this process, or a real daemon is killed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeAlias

import pytest

from roost.log import events as ev
from roost.log.store import Store
from tests.harness.crash.actions import ACTIONS, Action, Strike
from tests.harness.crash.every import EVERY, kill_at_every_commit
from tests.harness.crash.inside import strike
from tests.harness.crash.killing import When
from tests.harness.postgres.server import PostgresServer

Lend: TypeAlias = Callable[[], AbstractAsyncContextManager[str | None]]
"""Lends the address of an empty store, or None: the home's own."""
_AT_ONCE = 4
_LONG = ("travel", "children")
"""Of many commits, which take as many seconds."""
_NEW = [action for action in ACTIONS if action != "turn"]
_SOME = {
    "travel": [
        Strike(1, "after", "session.rolled_back"),
        Strike(1, "after", "fork"),
        Strike(1, "before", "workspace.restored"),
    ],
    "compaction": [Strike(1, "after", "compaction.started"), Strike(1, "before", "context.compacted")],
    "consolidation": [Strike(1, "after", "consolidation.started"), Strike(1, "before", "memory.consolidated")],
    "children": [
        Strike(1, "after", "child.started"),
        Strike(1, "before", "turn.completed"),
        Strike(2, "after", "create"),
    ],
    "firing": [Strike(1, "after", "fire"), Strike(1, "after", "schedule.fired")],
}
"""The kills that every run has room for: a process each."""


@pytest.fixture(params=["sqlite", "postgres"])
def lend(request: pytest.FixtureRequest) -> Lend:
    if request.param == "sqlite":
        return contextlib.nullcontext
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return postgres.borrowed


@pytest.mark.parametrize("action", _NEW)
async def test_struck_where_it_matters(tmp_path: Path, action: str, lend: Lend) -> None:
    blows = ACTIONS[action].strikes
    if lend is not contextlib.nullcontext:
        blows = blows[1::2]  # after each: a server has more to do for as much
    logs: list[list[ev.Event]] = []
    struck = await _strike(tmp_path, _seen(ACTIONS[action], logs), blows, lend)
    assert None not in struck, dict(zip(blows, struck, strict=True))
    if action == "compaction":  # else what its sight says of the money says nothing of calls that were cut off
        assert sum(any(isinstance(event, ev.ModelLost) for event in log) for log in logs) >= 2


@pytest.mark.parametrize("action", _NEW)
async def test_struck_here_and_there(tmp_path: Path, action: str) -> None:
    """What is on the disk before a commit is what was there after the one before it."""
    every = 6 if action in _LONG else 4
    assert await _exhaust(tmp_path, action, "after", contextlib.nullcontext, every=every) > 1


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("action", _NEW)
async def test_struck_everywhere(tmp_path: Path, action: str, when: When, lend: Lend) -> None:
    assert await _exhaust(tmp_path, action, when, lend) > 8


@pytest.mark.parametrize("action", _NEW)
async def test_killed_where_it_matters(tmp_path: Path, action: str) -> None:
    await _kill(tmp_path, action, _SOME[action], contextlib.nullcontext)


@pytest.mark.parametrize("action", ["travel", "children"])
async def test_killed_where_it_matters_on_postgres(tmp_path: Path, postgres: PostgresServer, action: str) -> None:
    await _kill(tmp_path, action, _SOME[action][:2], postgres.borrowed)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("action", _NEW)
async def test_killed_everywhere(tmp_path: Path, action: str, lend: Lend) -> None:
    await _kill(tmp_path / "some", action, ACTIONS[action].strikes, lend)
    await _kill(tmp_path / "every", action, EVERY, lend)


async def _kill(folder: Path, action: str, blows: Sequence[Strike], lend: Lend) -> None:
    folder.mkdir(exist_ok=True)
    async with lend() as store:
        report = await kill_at_every_commit(folder, action, strikes=blows, store=store)
    assert not report.problems, "\n".join(report.problems)
    assert report.recovered == report.kills >= (len(blows) if blows is not EVERY else 8)
    assert report.violations == 0


async def _exhaust(folder: Path, action: str, when: When, lend: Lend, *, every: int = 1) -> int:
    """How many commits were struck: each `every`-th one."""
    struck = 0
    for start in itertools.count(every, every * _AT_ONCE):
        blows = [Strike(start + every * number, when) for number in range(_AT_ONCE)]
        found = await _strike(folder / str(start), ACTIONS[action], blows, lend)
        struck += len(found) - found.count(None)
        if None in found:
            break
    return struck


def _seen(action: Action, logs: list[list[ev.Event]]) -> Action:
    """The same, that keeps the log of each session that was struck."""

    async def sight(store: Store, home: Path, session: str) -> list[str]:
        logs.append([record.event for record in await store.logs.read(session, limit=100_000)])
        return await action.sight(store, home, session)

    return action._replace(sight=sight)


async def _strike(folder: Path, action: Action, blows: Sequence[Strike], lend: Lend) -> list[str | None]:
    some = asyncio.Semaphore(_AT_ONCE)

    async def one(place: int, blow: Strike) -> str | None:
        home = folder / str(place)
        async with some, lend() as store:
            struck = await strike(home, action, blow, store=store)
        await asyncio.to_thread(shutil.rmtree, home)
        return struck

    return list(await asyncio.gather(*(one(*each) for each in enumerate(blows))))
