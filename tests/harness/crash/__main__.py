"""`python -m tests.harness.crash`: kill real daemons for as long as you like, and see whether anything is lost."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from tests.harness.crash.actions import ACTIONS
from tests.harness.crash.every import kill_at_every_commit
from tests.harness.crash.report import Report
from tests.harness.crash.storm import storm


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.harness.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="kills at random instants (default 100)")
    parser.add_argument("--users", type=int, default=4, help="users at once (default 4)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random choices")
    parser.add_argument("--skip-every", action="store_true", help="leave out the kills at every commit")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it")
    parser.add_argument("--json", action="store_true", help="print the reports as JSON and nothing else")
    options = parser.parse_args()
    say: Callable[[str], None] = (lambda _: None) if options.json else _print
    say(f"seed {options.seed}")
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        reports = asyncio.run(_run(options, options.keep, say))
    else:
        with tempfile.TemporaryDirectory(prefix="roost-crash-") as folder:
            reports = asyncio.run(_run(options, Path(folder), say))
    if options.json:
        _print(msgspec.json.encode(reports).decode())
    else:
        for report in reports:
            _print("\n".join(report.lines()))
    return 1 if any(report.problems or report.violations for report in reports) else 0


async def _run(options: argparse.Namespace, folder: Path, say: Callable[[str], None]) -> list[Report]:
    reports: list[Report] = []
    if not options.skip_every:
        for action in ACTIONS:
            (folder / action).mkdir()
            reports.append(await kill_at_every_commit(folder / action, action, say=say))
    if options.kills:
        (folder / "storm").mkdir()
        reports.append(
            await storm(folder / "storm", kills=options.kills, users=options.users, seed=options.seed, say=say)
        )
    return reports


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
