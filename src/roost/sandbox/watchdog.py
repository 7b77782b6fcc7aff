"""Limit sandboxes without control groups: count their processes four times a second, and kill the commands of one that
exceeds a limit. A command may exceed such a limit for a moment."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence

from roost.sandbox.backend import Bounds, Usage
from roost.sandbox.process_marks import read_process

EVERY = 0.25
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def machine_memory() -> tuple[int, int]:
    """Return the machine's memory and the used part, in bytes; zeros where the system does not say."""
    found: dict[str, int] = {}
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                name, _, rest = line.partition(":")
                if name in ("MemTotal", "MemAvailable"):
                    found[name] = int(rest.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        return 0, 0
    total = found.get("MemTotal", 0)
    return total, total - found.get("MemAvailable", total)


class Watchdog:
    """Watches the processes below `root`, the supervisor of a sandbox. The first `spared` ones (the supervisor and the
    agent) are neither counted nor killed."""

    def __init__(self, root: int, bounds: Bounds, *, spared: int = 2) -> None:
        self._root, self._bounds, self._spared = root, bounds, spared
        self.hits: dict[str, int] = {}
        """How often each limit was exceeded."""
        self._task = asyncio.create_task(self._watch(), name=f"sandbox watchdog {root}")

    def close(self) -> None:
        self._task.cancel()

    def usage(self) -> Usage:
        """Blocks for some milliseconds."""
        pids = self._commands()
        return Usage(
            memory_bytes=sum(map(own_memory, pids)),
            pids=len(pids),
            cpu_seconds=sum(map(_cpu_seconds, pids)),
            hits=dict(self.hits),
        )

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            await asyncio.to_thread(self._look)

    def _look(self) -> None:
        pids = self._commands()
        most, memory = self._bounds.pids, self._bounds.memory_bytes
        over = "pids" if most is not None and len(pids) > most else None
        if over is None and memory is not None and sum(map(own_memory, pids)) > memory:
            over = "memory_bytes"
        if over is None:
            return
        self.hits[over] = self.hits.get(over, 0) + 1
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue

    def _commands(self) -> list[int]:
        return _descendants(self._root)[max(0, self._spared - 1) :]


def _descendants(root: int) -> list[int]:
    """Return all descendants, nearest first."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (process := _read(int(name))) is not None:
            parents.setdefault(process, []).append(int(name))
    found: list[int] = []
    level: Sequence[int] = [root]
    while level:
        level = [child for pid in level for child in sorted(parents.get(pid, []))]
        found += level
    return found


def _read(pid: int) -> int | None:
    try:
        process = read_process(pid)
    except OSError:
        return None
    return None if process is None or process.dead else process.parent


def own_memory(pid: int) -> int:
    """Return the bytes of the process itself, without shared libraries."""
    total = 0
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith(("RssAnon:", "RssShmem:")):
                    total += int(line.split()[1]) * 1024
    except OSError:
        return 0
    return total


def _cpu_seconds(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
    except (OSError, IndexError):
        return 0.0
