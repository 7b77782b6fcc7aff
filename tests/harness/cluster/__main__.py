"""`python -m tests.harness.cluster`: break a cluster for as long as you like, and see whether anything is lost."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from tests.harness.cluster.faults import FAULTS
from tests.harness.cluster.report import ClusterReport
from tests.harness.cluster.storm import Plan, cluster_storm
from tests.harness.doors.clients import CLIENTS
from tests.harness.postgres.server import PostgresServer
from tests.harness.postgres.volume import no_volume

_DISK_MIB = 1024


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.harness.cluster", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long (default 300)")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--users", type=int, default=6, help="users at once (default 6)")
    parser.add_argument("--lease", type=float, default=2.0, help="seconds (default 2)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random choices")
    parser.add_argument(
        "--doors", nargs="*", choices=list(CLIENTS), help="users come by these doors; all without names"
    )
    parser.add_argument("--faults", nargs="*", default=[], choices=list(FAULTS), help="these first")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it")
    parser.add_argument("--report", type=Path, help="write the reports there as JSON")
    options = parser.parse_args()
    _print(f"seed {options.seed}")
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        reports = asyncio.run(_run(options, options.keep))
    else:
        with tempfile.TemporaryDirectory(prefix="roost-cluster-") as folder:
            reports = asyncio.run(_run(options, Path(folder)))
    for report in reports:
        _print("\n".join(report.lines()))
    if options.report:
        options.report.write_bytes(msgspec.json.format(msgspec.json.encode(reports), indent=1))
    return 1 if any(report.problems or report.violations for report in reports) else 0


async def _run(options: argparse.Namespace, folder: Path) -> list[ClusterReport]:
    """Everything on the real disk; then, where one can be had, a database whose small disk is filled up."""
    plan = Plan(
        seconds=options.seconds,
        nodes=options.nodes,
        users=options.users,
        seed=options.seed,
        lease=options.lease,
        faults=options.faults,
        doors=() if options.doors is None else options.doors or list(CLIENTS),
    )
    reports: list[ClusterReport] = []
    with PostgresServer() as server:
        reports.append(await cluster_storm(folder / "all", server, plan, say=_print))
    if plan.doors:
        return reports
    if reason := no_volume():
        _print(f"no disk is filled up: {reason}")
        return reports
    with PostgresServer(disk=_DISK_MIB, settings={"max_wal_size": "128MB"}) as server:
        full = msgspec.structs.replace(plan, seconds=0.0, faults=["disk_full", "wal_full", "disk_full", "wal_full"])
        reports.append(await cluster_storm(folder / "full", server, full, say=_print))
    return reports


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
