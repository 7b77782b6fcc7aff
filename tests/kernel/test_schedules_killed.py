"""A node that dies before and after each commit of what a schedule does: nothing is missed, nothing fires twice."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

import pytest

from roost.errors import NotFound, RoostError
from roost.features.schedules.events import ScheduleFired, ScheduleSet
from roost.kernel.check import check
from roost.log import events as ev
from roost.log.schedule_events import ScheduleSpec
from roost.runtime import Runtime
from roost.stores.open import open_store
from tests.harness.crash.check import problems
from tests.harness.crash.killing import KillingStore, When

from .scheduling import HOUR, Clock, Speaker, hourly
from .support import running

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
BEAT = ScheduleSpec(text="anything?", every=HOUR, heartbeat=True, idle_after=2, missed="all")
_AT_ONCE = 8
_MOST = 80


async def _play(runtime: Runtime, clock: Clock) -> None:
    """Orders that may be given again, and all that comes due."""
    schedules, start = runtime.schedules, clock.made
    await schedules.set("s", "h", hourly(missed="all"), key="one", wait=0)
    await schedules.set("s", "b", BEAT, key="two", wait=0)
    await _settle(runtime, clock)
    clock.go_to(start + 3 * HOUR + 60)
    await _settle(runtime, clock)
    with contextlib.suppress(NotFound):  # it was deleted before the node died
        await schedules.pause("s", "h", key="three", wait=0)
        await _settle(runtime, clock)
        clock.go_to(start + 5 * HOUR + 60)
        await _settle(runtime, clock)
        await schedules.resume("s", "h", key="four", wait=0)
        await schedules.run("s", "h", key="five")
        await _settle(runtime, clock)
        await schedules.delete("s", "h", key="six", wait=0)
    await _settle(runtime, clock)


async def _settle(runtime: Runtime, clock: Clock) -> None:
    async with asyncio.timeout(30):
        while True:
            following = await runtime.node.store.dispatch.fire(clock())
            info = await runtime.sessions.get("s")
            resting = not info.pending and info.phase == "idle" and info.owner is None
            if resting and (following is None or following > clock()):
                return
            await asyncio.sleep(0.01)


async def _strike(home: Path, at: int, when: When) -> KillingStore:
    clock, clerk = Clock(), Speaker("HEARTBEAT_OK")
    journal = KillingStore(await open_store(home / "roost.db", durability="relaxed"), at=at, when=when, how="fail")
    runtime = Runtime(home, agents=[clerk.agent], config=clock.config, store=journal)
    try:
        await runtime.start()
        await _play(runtime, clock)
    except (RoostError, TimeoutError):
        assert journal.dead
    finally:
        with contextlib.suppress(RoostError):
            await runtime.stop(grace=0.0)
    async with running(home, clerk.agent, config=clock.config) as again:
        await _play(again, clock)
    store = await open_store(home / "roost.db")
    try:
        log = [record.event for record in await store.logs.read("s")]
        found = [
            one for one in await problems(store, "s", settled=True) if "fired" not in one and "answered" not in one
        ]
        assert found == [], journal.names[-1:]
    finally:
        await store.close()
    _judge(log, f"{when} {journal.names[-1]}")
    assert (await check(home / "roost.db")).faults == []
    return journal


def _judge(log: list[ev.Event], where: str) -> None:
    fired = [event for event in log if isinstance(event, ScheduleFired)]
    made = next(event.next for event in log if isinstance(event, ScheduleSet) and event.name == "h")
    hours = [event.due for event in fired if event.name == "h" and event.due is not None]
    assert made is not None
    assert hours[:3] == [made + hour * HOUR for hour in range(len(hours[:3]))], where
    assert len(hours) == len(set(hours)), where
    assert sum(event.due is None for event in fired) == 1, where
    beats = [event.due for event in fired if event.name == "b"]
    assert len(beats) == len(set(beats)) >= 2, where
    rests = [event for event in log if isinstance(event, ScheduleSet) and event.paused == "idle"]
    assert len(rests) == 1, where
    turns = [event for event in log if isinstance(event, ev.TurnCompleted)]
    assert len(turns) == sum(event.run for event in fired), where


@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_at_every_commit(tmp_path: Path, when: When) -> None:
    plain = tmp_path / "plain"
    async with running(plain, Speaker("HEARTBEAT_OK").agent) as runtime:
        await runtime.sessions.create("a", id="s", key="s")
    done = False
    every = range(1, _MOST, 1 if when == "after" else 4)  # before one commit is after the last: the disk is the same
    for start in range(0, len(every), _AT_ONCE):
        commits = every[start : start + _AT_ONCE]
        homes = [tmp_path / f"{when}-{at}" for at in commits]
        for home in homes:
            shutil.copytree(plain, home, ignore=shutil.ignore_patterns("run"))
        played = await asyncio.gather(*(_strike(*one, when) for one in zip(homes, commits, strict=True)))
        for home in homes:
            shutil.rmtree(home)
        if done := not all(journal.dead for journal in played):
            break
    assert done, f"there were more than {_MOST} commits"
