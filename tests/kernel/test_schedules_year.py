"""A year of schedules in zones that change their clocks, with nodes that stop, die, or are away for days."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from roost.features.schedules.api import ScheduleView
from roost.features.schedules.events import ScheduleFired
from roost.log.schedule_events import ScheduleSpec
from roost.runtime import Runtime
from roost.stores.open import open_store
from tests.harness.crash.killing import KillingStore

from .scheduling import DAY, Clock, Speaker
from .support import place

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

PLANS = [
    ("Europe/Berlin", "30 2 * * *"),
    ("America/New_York", "15 1,2 * * 0"),
    ("Australia/Lord_Howe", "*/30 1-2 * * 0,3"),
    ("Africa/Casablanca", "0 */6 * * 1,5"),
    ("Asia/Kolkata", "45 23 L * *"),
]


def expected(zone: str, cron: str, start: float, end: float) -> list[float]:
    """By walking through the year minute by minute, and asking what the clocks show."""
    where, found, shown_before = ZoneInfo(zone), [], None
    fits = {
        "30 2 * * *": lambda w: (w.hour, w.minute) == (2, 30),
        "15 1,2 * * 0": lambda w: w.hour in (1, 2) and w.minute == 15 and w.weekday() == 6,
        "*/30 1-2 * * 0,3": lambda w: w.hour in (1, 2) and w.minute in (0, 30) and w.weekday() in (6, 2),
        "0 */6 * * 1,5": lambda w: w.hour % 6 == 0 and w.minute == 0 and w.weekday() in (0, 4),
        "45 23 L * *": lambda w: (w.hour, w.minute) == (23, 45) and (w + _DAY).month != w.month,
    }[cron]
    seen: set[datetime] = set()
    moment = start - start % 900
    while (moment := moment + 900) < end:
        shown = datetime.fromtimestamp(moment, where).replace(tzinfo=None, fold=0)
        left_out = [] if shown_before is None else _between(shown_before, shown)
        shown_before = shown
        by_the_wall = not cron.startswith("*") and "*" not in cron.split()[1]
        hit = fits(shown) and not (by_the_wall and shown in seen)
        hit = hit or (by_the_wall and any(fits(wall) for wall in left_out))
        seen.add(shown)
        if hit and moment > start:
            found.append(moment)
    return found


_DAY = datetime(2027, 1, 2) - datetime(2027, 1, 1)
_QUARTER = _DAY / 96


def _between(one: datetime, other: datetime) -> list[datetime]:
    """What the clocks left out on the way."""
    found: list[datetime] = []
    while (one := one + _QUARTER) < other:
        found.append(one)
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1])
async def test_a_year_misses_none_and_fires_none_twice(tmp_path: Path, seed: int) -> None:
    chance, clock = random.Random(seed), Clock()
    start = time.time()
    end = start + 366 * DAY
    runtime, journal = await _begin(tmp_path, clock)
    sessions: dict[str, tuple[str, str]] = {}
    for zone, cron in PLANS:
        session = await runtime.session("a")
        spec = ScheduleSpec(text="x", cron=cron, zone=zone, missed="all", catch_up=100, jitter=chance.choice([0, 40]))
        assert isinstance(await runtime.schedules.set(session.id, "s", spec), ScheduleView)
        sessions[session.id] = (zone, cron)
    made = {session: (await runtime.schedules.get(session, "s")).coming[0].at for session in sessions}
    restarts = 0
    while clock() < end:
        following = await runtime.node.store.dispatch.fire(clock())
        if chance.random() < 0.04:
            restarts += 1
            journal.dead = journal.dead or chance.random() < 0.7  # as by kill -9: nothing more is written
            await runtime.stop(grace=0.0)
            clock.ahead += chance.choice([1.0, 600.0, 3 * DAY, 9 * DAY])
            runtime, journal = await _begin(tmp_path, clock)
            continue
        if not await _busy(runtime, sessions):
            soon = following or clock()
            clock.go_to(max(soon + chance.choice([0.01, 5.0, 70.0]), clock()))
        else:
            await asyncio.sleep(0.002)
    while await runtime.node.store.dispatch.fire(clock()) is None or await _busy(runtime, sessions):
        await asyncio.sleep(0.01)
    for session, (zone, cron) in sessions.items():
        fired = [due for due in await _fired(runtime, session) if due < end]
        wanted = [due for due in expected(zone, cron, start, end) if due >= made[session]]
        assert fired == wanted, (zone, cron)
        assert len(fired) >= 12
    assert restarts >= 10
    await runtime.stop(grace=0.0)


async def _begin(home: Path, clock: Clock) -> tuple[Runtime, KillingStore]:
    store = await open_store(home / "roost.db", durability="relaxed")
    journal = KillingStore(store, at=None, how="fail")
    runtime = Runtime(home, agents=[Speaker().agent], config=clock.config, store=place.url or journal)
    await runtime.start()
    return runtime, journal


async def _busy(runtime: Runtime, sessions: dict[str, tuple[str, str]]) -> bool:
    for session in sessions:
        info = await runtime.sessions.get(session)
        if info.pending or info.phase != "idle":
            return True
    return False


async def _fired(runtime: Runtime, session: str) -> list[float]:

    found: list[float] = []
    after = 0
    while page := await runtime.sessions.history(session, after=after):
        after = page[-1].seq
        found += [one.due for record in page if isinstance(one := record.event, ScheduleFired) and one.due]
    return found
