"""The programs that isolate, as a program without Roost would use them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.boxes import Box, Lacking, opened
from bench.worker import Clock, serve, whole_cpu


def play(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    """Each list holds milliseconds."""
    (workspace := folder / "work").mkdir()
    clock, found = Clock(), dict[str, Any]()
    try:
        with opened(order["bare"], folder, workspace) as one:
            found["start"] = [_ms(one.start) for _ in range(order["starts"])]
            before = whole_cpu()
            found["exec"] = [_ms(one.exec) for _ in range(order["execs"])]
            cpu = whole_cpu() - before
            if not (isinstance(one, Box) and one.sleeps):
                found["exec_cpu"] = cpu / order["execs"] * 1e3
            else:
                found["suspend"], found["resume"] = [], []
                for _ in range(order["sleeps"]):
                    found["suspend"].append(_ms(one.suspend))
                    one.forget()
                    found["resume"].append(_ms(one.resume))
    except Lacking as error:
        return {"error": str(error)}
    return {"ms": found, **clock.stop()}


def _ms(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


if __name__ == "__main__":
    serve(play)
