"""kill -9 of a real daemon. `python -m roost.testing.crash` does the same for longer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from roost.testing.crash.every import kill_at_every_commit
from roost.testing.crash.report import Report
from roost.testing.crash.storm import storm

KILLS = int(os.environ.get("ROOST_CRASH_KILLS", "20"))


async def test_killed_before_and_after_every_commit(tmp_path: Path) -> None:
    report = await kill_at_every_commit(tmp_path)
    _sound(report)
    before = {name.removeprefix("before ") for name in report.commits if name.startswith("before")}
    after = {name.removeprefix("after ") for name in report.commits if name.startswith("after")}
    assert before == after - {"claim"}  # for the disk, before a claim is after the commit before it
    text = " ".join(before)
    for part in ("create", "accept message", "model.started", "tool.started", "turn.completed", "release"):
        assert part in text


@pytest.mark.timeout(60 + 10 * KILLS)
async def test_killed_at_random_instants(tmp_path: Path) -> None:
    report = await storm(tmp_path, kills=KILLS, users=3, seed=KILLS)
    _sound(report)
    assert report.kills >= KILLS
    assert report.stream_breaks > 0


def _sound(report: Report) -> None:
    assert not report.problems, "\n".join(report.problems)
    assert report.recovered == report.kills
    assert report.violations == 0
