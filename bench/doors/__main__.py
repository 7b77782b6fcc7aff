"""`python -m bench.doors cpu`: what each door adds to a turn. `streams`: many of each door at once. `hostile`: what
other clients notice of slow and hostile ones of all doors. `hostile-each`: the same of each door, all kinds at once."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from tests.harness.doors.clients import CLIENTS

from bench.doors import cpu, crowd, hostile


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.doors", description=__doc__)
    parser.add_argument("what", choices=["cpu", "streams", "hostile", "hostile-each"])
    parser.add_argument("--doors", nargs="*", default=list(hostile.DOORS), choices=list(hostile.DOORS))
    parser.add_argument("--rounds", type=int, default=70, help="turns of each door (cpu)")
    parser.add_argument("--count", type=int, default=1000, help="streams at once (streams)")
    options = parser.parse_args()
    _say(f"load of the machine: {os.getloadavg()[0]:.1f}, processors: {len(os.sched_getaffinity(0))}")
    match options.what:
        case "cpu":
            _say("| door | ms of CPU a turn | more than our own HTTP |\n| --- | --- | --- |")
            for name, (turn, more) in asyncio.run(
                cpu.measure([name for name in options.doors if name in CLIENTS], options.rounds)
            ).items():
                _say(f"| {name} | {turn:.2f} | {more:.2f} |")
        case "streams":
            _say(
                "| door | answered | s | ms of CPU each | peak MiB | another client's request, ms |\n"
                + "| --- " * 6
                + "|"
            )
            for name in options.doors:
                found = asyncio.run(crowd.crowd(name, options.count))
                _say(f"| {name} | {' | '.join(f'{one:,.0f}' for one in found)} |")
        case "hostile":
            _say("| clients | another client's request, ms | longest | peak MiB |\n| --- | --- | --- | --- |")
            for name, attack in hostile.ATTACKS.items():
                _noticed(name, attack, options.doors)
        case _:
            _say("| door | another client's request, ms | longest | peak MiB |\n| --- | --- | --- | --- |")
            _noticed("none", hostile.nothing, options.doors)
            for name in options.doors:
                _noticed(name, hostile.all_at_once, [name])


def _noticed(name: str, attack: hostile.Attack, doors: Sequence[str]) -> None:
    times = asyncio.run(hostile.noticed(attack, doors))
    _say(f"| {name} | {' | '.join(f'{one:,.0f}' for one in times)} |")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
