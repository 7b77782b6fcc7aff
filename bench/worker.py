"""A contestant is a process that plays a round when told to: a JSON line in, a JSON line out. It sits still in between,
so that rounds of several contestants can take turns. This module runs in the peers' own environment too: standard
library only."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Play = Callable[[Path, dict[str, Any]], dict[str, Any]]


def serve(play: Play) -> None:
    """Play rounds until standard input ends. Each gets an empty folder."""
    answers = sys.stdout
    sys.stdout = sys.stderr
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        with tempfile.TemporaryDirectory(prefix="roost-bench-") as folder:
            try:
                answer = play(Path(folder), json.loads(line))
            except Exception as error:  # the bench reports a contestant that fails and goes on with the others
                answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        print(json.dumps(answer), file=answers, flush=True)


def whole_cpu() -> float:
    """CPU seconds so far of this process and of those that it started and saw end."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class Clock:
    """Wall and CPU seconds of the whole process (all threads) between `__init__` and `stop`."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def stop(self) -> dict[str, float]:
        return {"wall": time.perf_counter() - self._wall, "cpu": time.process_time() - self._cpu}


class Ticks:
    """When each step began. A step's latency is the time to the beginning of the next one: one durable write each."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def tick(self) -> None:
        self.at.append(time.perf_counter())

    def milliseconds(self) -> list[float]:
        return [(late - early) * 1e3 for early, late in zip(self.at, self.at[1:], strict=False)]
