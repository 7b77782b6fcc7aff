"""The machine that the numbers are from."""

from __future__ import annotations

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
        "fsync_ms": fsync(50 if quick else 500),
        "load_before": os.getloadavg(),
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
    return [
        f"- {found['cpu']}, {found['cores']} cores, {found['memory_gb']} GB, {found['kernel']}",
        f"- Python {found['python']}, SQLite {found['sqlite']}; fsync of 4 KB where the stores are:"
        f" p50 {figure(sync['p50'])} ms, p99 {figure(sync['p99'])} ms",
        f"- load average before {_load(found['load_before'])}, after {_load(found['load_after'])}",
    ]


def busy() -> list[str]:
    """The other processes that took the most CPU since they began, by name: who shared the machine."""
    mine = {os.getpid(), os.getppid()}
    spent: dict[str, float] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) not in mine:
            try:
                name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
                fields = rest.split()
            except OSError:
                continue
            spent[name] = spent.get(name, 0.0) + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return sorted(spent, key=lambda name: -spent[name])[:5]


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _load(load: tuple[float, ...]) -> str:
    return " / ".join(f"{value:.1f}" for value in load)
