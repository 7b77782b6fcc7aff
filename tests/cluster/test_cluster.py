"""Three real nodes on a real PostgreSQL under faults. `python -m tests.harness.cluster` does the same for longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.cluster.report import ClusterReport
from tests.harness.cluster.storm import Plan, cluster_storm
from tests.harness.postgres.server import PostgresServer
from tests.harness.postgres.volume import no_volume

LEASE = 4.0
BETWEEN = (0.2, 1.0)


@pytest.mark.timeout(180)
async def test_nothing_is_lost_whatever_breaks(tmp_path: Path) -> None:
    faults = ["kill", "partition", "kill", "zombie", "cut", "database_kill", "clients_cut", "rolling_restart"]
    with PostgresServer() as server:
        plan = Plan(seconds=0.0, users=6, seed=3, lease=LEASE, between=BETWEEN, faults=faults)
        report = await cluster_storm(tmp_path, server, plan)
    _sound(report)
    assert sum(report.faults.values()) == len(faults)
    assert report.stream_breaks > 0
    taken = report.takeovers
    assert taken["kill"].median < LEASE, "a killed node is noticed by its connection, long before its lease is over"
    for name in ("partition", "zombie"):
        if name in taken:
            assert taken[name].median < LEASE + 4.0


@pytest.mark.timeout(300)
@pytest.mark.skipif(no_volume() is not None, reason=str(no_volume()))
async def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    with PostgresServer(disk=512, settings={"max_wal_size": "128MB"}) as server:
        plan = Plan(seconds=0.0, users=4, seed=4, between=BETWEEN, faults=["disk_full", "wal_full"])
        report = await cluster_storm(tmp_path, server, plan)
        assert "PANIC" in server.log_tail(10_000)
    _sound(report)
    logs = [log.read_text() for log in tmp_path.glob("node*.log")]
    assert any("the database's disk is full" in log for log in logs)


def _sound(report: ClusterReport) -> None:
    print("\n".join(report.lines()))
    assert not report.problems, "\n".join(report.problems)
    assert report.violations == 0
    assert report.sessions > 0
