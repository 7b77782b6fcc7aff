"""`python -m bench.first_token`: how long from the command to the local model's first token and to its answer?

Asks the README's question with `roost run`, each time in a new home, and reads the times from the session's log. The
weights must be here. Say what else runs on the machine when you report the numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from roost.local.cache import cache_dir

ROOST = Path(sys.executable).with_name("roost")
QUESTION = "Who has the train tickets?"
FOLDER = Path(__file__).parent.parent / "examples" / "trip"


class Times(msgspec.Struct):
    """Seconds from the command. `token`: the word by which the model says where its answer comes from, which is about
    its fourth token. `call`: its first step is whole. `answer`: the command has ended."""

    token: float
    call: float
    answer: float
    cpu: float
    text: str


def main() -> None:
    options = _options()
    if options.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    if options.cgroup:
        (options.cgroup / "cgroup.procs").write_text(str(os.getpid()))
    _say("prepare", ask()) if options.no_state else ask()
    print(f"load of the machine: {os.getloadavg()[0]:.1f}, processors: {len(os.sched_getaffinity(0))}")
    for number in range(options.runs):
        if options.cold:
            forget(cache_dir())
        _say(f"run {number + 1}", ask())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.first_token", description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cores", type=int, help="bind the command to so many processors")
    parser.add_argument("--cgroup", type=Path, help="a control group to run in, such as one with a quota")
    parser.add_argument("--cold", action="store_true", help="let the system forget the files of the cache before a run")
    parser.add_argument("--no-state", action="store_true", help="print the first run too, which may make the state")
    return parser.parse_args()


def ask() -> Times:
    """One run of the command, in a new home."""
    with tempfile.TemporaryDirectory(prefix="roost-bench-") as home:
        environment = os.environ | {"ROOST_HOME": home}
        before, began, clock = os.times(), time.time(), time.monotonic()
        command = [str(ROOST), "run", "--model", "local", "--workspace", str(FOLDER), QUESTION]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        seconds, after = time.monotonic() - clock, os.times()
        logged = subprocess.run([str(ROOST), "logs", "--json"], env=environment, stdout=subprocess.PIPE, check=True)
        events = [json.loads(line)["event"] for line in logged.stdout.splitlines()]
    return Times(
        token=_at(events, "model.notice") - began,
        call=_at(events, "model.completed") - began,
        answer=seconds,
        cpu=sum(after[2:4]) - sum(before[2:4]),
        text=done.stdout.decode().strip().splitlines()[-1],
    )


def _at(events: list[dict[str, Any]], kind: str) -> float:
    return next((float(event["at"]) for event in events if event["type"] == kind), float("nan"))


def forget(folder: Path) -> None:
    """Drop the folder's files from the page cache, where no process maps them."""
    for path in _files(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _say(name: str, times: Times) -> None:
    print(
        f"{name}: first token {times.token:.1f} s, first step {times.call:.1f} s, "
        f"answer {times.answer:.1f} s, {times.cpu:.1f} CPU s: {times.text}",
        flush=True,
    )


if __name__ == "__main__":
    main()
