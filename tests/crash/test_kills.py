"""kill -9 of a real daemon. `python -m tests.harness.crash` does the same for longer."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.crash.support import rig
from tests.harness.crash.actions import Strike
from tests.harness.crash.every import kill_at_every_commit
from tests.harness.crash.plans import message
from tests.harness.crash.process import commands_of
from tests.harness.crash.report import Report
from tests.harness.crash.storm import storm

KILLS = int(os.environ.get("ROOST_CRASH_KILLS", "12"))


@pytest.mark.timeout(300)
async def test_killed_before_and_after_every_commit(tmp_path: Path) -> None:
    report = await kill_at_every_commit(tmp_path / "numbered")
    _sound(report)
    before = {name.removeprefix("before ") for name in report.commits if name.startswith("before")}
    after = {name.removeprefix("after ") for name in report.commits if name.startswith("after")}
    missed = [Strike(1, "after", name) for name in sorted(before - after - {"fire"})]
    # for the disk, before a claim is after the commit before it; a timer fires only where the machine was slow
    missed += [Strike(1, "before", name) for name in sorted(after - before - {"claim", "fire"})]
    if missed:  # commit number n of one session need not be commit number n of another: the clock groups them
        named = await kill_at_every_commit(tmp_path / "named", strikes=missed)
        _sound(named)
        assert named.kills == len(missed)
    text = " ".join(before | after)
    for part in ("create", "accept message", "model.started", "tool.started", "turn.completed", "release"):
        assert part in text


async def test_killed_while_it_starts_for_the_first_time(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.process.stop()
        for number in range(5):
            home = tmp_path / f"home{number}"
            one.process.spawn(home=home)
            await one.process.died(0.15 + number * 0.1)
            one.process.kill()
            await one.process.start()
            user = await one.user(f"s{number}")
            await user.send(message("say"))
            await user.settle()
            one.process.kill()
            assert {path.name for path in home.glob("token*")} == {"token"}
        await one.process.start()


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
async def test_commands_of_a_killed_daemon_are_ended(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        home = one.process.settings.home
        user = await one.user("s")
        await user.send(message("shell"))
        async with asyncio.timeout(30):
            while len(commands_of(home)) < 2:
                await asyncio.sleep(0.01)
        one.process.kill()
        orphans = commands_of(home)
        assert orphans
        await one.process.start()
        left = commands_of(home)
        assert not [pid for pid, started in orphans.items() if left.get(pid) == started]
        await one.check(user)
        assert not commands_of(home)


@pytest.mark.timeout(240 + 10 * KILLS)
async def test_killed_at_random_instants(tmp_path: Path) -> None:
    report = await storm(tmp_path, kills=KILLS, users=3, seed=KILLS)
    _sound(report)
    assert report.kills >= KILLS
    assert report.stream_breaks > 0


def _sound(report: Report) -> None:
    assert not report.problems, "\n".join(report.problems)
    assert report.recovered == report.kills
    assert report.violations == 0
