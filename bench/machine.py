"""The machine that the numbers are from."""

from __future__ import annotations

import importlib.util
import os
import platform
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.numbers import figure, percentile


def facts(quick: bool) -> dict[str, Any]:
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "uvloop": importlib.util.find_spec("uvloop") is not None,
        "fsync_ms": fsync(50 if quick else 500),
    }


def fsync(count: int) -> dict[str, float]:
    """Milliseconds to write 4 KB and sync it, where the stores of the bench are."""
    times: list[float] = []
    with tempfile.TemporaryFile(prefix="roost-bench-") as file:
        for _ in range(count):
            start = time.perf_counter()
            os.write(file.fileno(), b"x" * 4096)
            os.fsync(file.fileno())
            times.append((time.perf_counter() - start) * 1e3)
    return {"p50": percentile(times, 50), "p99": percentile(times, 99)}


def lines(found: dict[str, Any]) -> list[str]:
    sync = found["fsync_ms"]
    loop = "uvloop (the extra `fast`)" if found["uvloop"] else "asyncio's own"
    return [
        f"- {found['cpu']}, {found['cores']} cores, {found['memory_gb']} GB, {found['kernel']}",
        f"- Python {found['python']}, SQLite {found['sqlite']}; fsync of 4 KB where the stores are:"
        f" p50 {figure(sync['p50'])} ms, p99 {figure(sync['p99'])} ms",
        f"- the Roost daemon ran on the event loop {loop}; the kernel alone (durable steps, waking) on asyncio's own",
    ]


class Load:
    """How busy the machine was since `__init__`, and how much of that was the bench."""

    def __init__(self) -> None:
        self._began, self._before = time.monotonic(), os.getloadavg()[0]
        self._all, self._own = _busy_seconds(), _own_seconds()

    def told(self) -> str:
        """In words."""
        took, after = time.monotonic() - self._began, os.getloadavg()[0]
        busy, own = self.shares()
        return (
            f"took {took:.0f} s; load average {self._before:.1f} before, {after:.1f} after; the cores were {busy:.0f} %"
            f" busy, {own:.0f} % with the bench and its contestants"
        )

    def shares(self) -> tuple[float, float]:
        """Busy, in percent of all cores: (everything, the bench and its contestants)."""
        room = (time.monotonic() - self._began) * (os.cpu_count() or 1) / 100
        return (_busy_seconds() - self._all) / room, (_own_seconds() - self._own) / room


def _busy_seconds() -> float:
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
