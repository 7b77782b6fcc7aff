"""Control groups: the kernel's limits on memory, processor and processes of a whole sandbox, version 1 or 2.

Version 2 needs a writable group of ours with the controllers memory, pids and cpu (root, or `Delegate=yes` of systemd).
Version 1, also beside an empty version 2 ("hybrid"), has a folder tree for each controller. Without either, resource
limits and a watchdog (`watchdog.py`) enforce the limits. All functions here block, for some milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Literal, Protocol

from roost.sandbox.backend import Bounds, Usage

OWN_PROCESSES = 2
"""Processes of a sandbox itself (supervisor and agent), not counted as its commands'."""
_OLD = 60.0
"""Age in seconds after which a group without processes is abandoned."""
_PERIOD = 100_000
"""Microseconds of the period that a share of processors applies to."""
_WEIGHT = 25
"""CPU weight of a sandbox; the daemon's processes have 100, so that no command delays other sessions."""
_V1 = ("memory", "pids", "cpu", "freezer", "cpuacct")
_V2 = ("memory", "pids", "cpu")


class Group(Protocol):
    """One sandbox's group. `doors`: files into which a process writes `0` to join."""

    @property
    def doors(self) -> list[str]: ...

    def usage(self) -> Usage: ...

    def hits(self) -> dict[str, int]: ...

    def freeze(self, frozen: bool) -> None: ...

    def processes(self) -> list[int]: ...

    def remove(self, seconds: float = 2.0) -> bool:
        """Kill its processes and remove it. False when part of it could not be removed."""
        ...


class Groups:
    """Makes groups below `bases`: controller to folder. With version 2 all folders are the same."""

    def __init__(self, version: Literal[1, 2], bases: dict[str, Path]) -> None:
        self.version = version
        self._bases = bases

    def create(self, marker: str, bounds: Bounds) -> Group:
        """Make a group with these limits. Raises `OSError`."""
        name = f"{_prefix(marker)}{secrets.token_hex(6)}"
        group = _Group(self.version, {what: base / name for what, base in self._bases.items()})
        try:
            group.make(bounds)
        except OSError:
            group.remove(0.0)
            raise
        return group

    def tidy(self) -> None:
        """Remove old groups without a process, of any marker: nothing else would reap them."""
        for base in set(self._bases.values()):
            for folder in base.glob("roost-*-*"):
                with contextlib.suppress(OSError):
                    old = time.time() - folder.stat().st_mtime > _OLD
                    if old and not (folder / "cgroup.procs").read_text().strip():
                        folder.rmdir()

    def reap(self, marker: str) -> int:
        """Remove the groups of a dead process with this marker. Returns how many groups that were."""
        names: set[str] = set()
        for base in set(self._bases.values()):
            with contextlib.suppress(OSError):
                names |= {name for name in os.listdir(base) if name.startswith(_prefix(marker))}
        return sum(
            _Group(self.version, {what: base / name for what, base in self._bases.items()}).remove() for name in names
        )


class _Group:
    def __init__(self, version: int, folders: dict[str, Path]) -> None:
        self._version = version
        self._folders = folders

    def make(self, bounds: Bounds) -> None:
        for folder in self._each():
            folder.mkdir(exist_ok=True)
        if bounds.memory_bytes is not None:
            self._limit_memory(bounds.memory_bytes)
        if bounds.pids is not None:
            self._write("pids", "pids.max", bounds.pids + OWN_PROCESSES)
        self._write("cpu", *(("cpu.weight", _WEIGHT) if self._version == 2 else ("cpu.shares", _WEIGHT * 1024 // 100)))
        if bounds.cpus is not None:
            quota = max(1000, int(bounds.cpus * _PERIOD))
            if self._version == 2:
                self._write("cpu", "cpu.max", f"{quota} {_PERIOD}")
            else:
                self._write("cpu", "cpu.cfs_period_us", _PERIOD)
                self._write("cpu", "cpu.cfs_quota_us", quota)

    def _limit_memory(self, most: int) -> None:
        if self._version == 2:
            self._write("memory", "memory.max", most)
            with contextlib.suppress(OSError):  # a kernel without swap accounting
                self._write("memory", "memory.swap.max", 0)
            return
        self._write("memory", "memory.limit_in_bytes", most)
        with contextlib.suppress(OSError):
            self._write("memory", "memory.memsw.limit_in_bytes", most)

    @property
    def doors(self) -> list[str]:
        return [str(folder / "cgroup.procs") for folder in self._each()]

    def usage(self) -> Usage:
        v2 = self._version == 2
        if v2:
            cpu = self._field("cpu", "cpu.stat", "usage_usec") / 1e6
        else:
            cpu = self._number("cpuacct", "cpuacct.usage") / 1e9
        return Usage(
            memory_bytes=self._number("memory", "memory.current" if v2 else "memory.usage_in_bytes"),
            pids=max(0, self._number("pids", "pids.current") - OWN_PROCESSES),
            cpu_seconds=cpu,
            hits=self.hits(),
        )

    def hits(self) -> dict[str, int]:
        hits = {
            "memory_bytes": self._field(
                "memory", "memory.events" if self._version == 2 else "memory.oom_control", "oom_kill"
            ),
            "pids": self._field("pids", "pids.events", "max"),
        }
        return {name: count for name, count in hits.items() if count}

    def freeze(self, frozen: bool) -> None:
        if self._version == 2:
            self._write("memory", "cgroup.freeze", int(frozen))
        elif "freezer" in self._folders:
            self._write("freezer", "freezer.state", "FROZEN" if frozen else "THAWED")

    def processes(self) -> list[int]:
        found: set[int] = set()
        for folder in self._each():
            with contextlib.suppress(OSError, ValueError):
                found |= set(map(int, (folder / "cgroup.procs").read_text().split()))
        return sorted(found - {0, os.getpid()})

    def remove(self, seconds: float = 2.0) -> bool:
        deadline, pause = time.monotonic() + seconds, 0.001
        while True:
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(OSError):  # a frozen process does not die
                self.freeze(False)
            if not (left := [folder for folder in self._each() if not _removed(folder)]):
                return True
            if time.monotonic() > deadline:
                return not left
            time.sleep(pause)
            pause = min(pause * 2, 0.05)

    def _each(self) -> list[Path]:
        return list(dict.fromkeys(self._folders.values()))

    def _write(self, what: str, name: str, value: object) -> None:
        (self._folders[what] / name).write_text(str(value))

    def _number(self, what: str, name: str) -> int:
        try:
            return int((self._folders[what] / name).read_text())
        except (OSError, ValueError, KeyError):
            return 0

    def _field(self, what: str, name: str, key: str) -> int:
        try:
            lines = (self._folders[what] / name).read_text().splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith(f"{key} ")), 0)


def find_groups(root: Path = Path("/sys/fs/cgroup")) -> Groups | None:
    """Return the groups that this process may make, after a trial; None where there are none."""
    found = _version_2(root) or _version_1(root)
    if found is None:
        return None
    try:
        group = found.create("probe", Bounds())
    except OSError:
        return None
    found.tidy()
    return found if group.remove() else None


class OwnGroups:
    """The groups of this process, looked up at first use."""

    def __init__(self) -> None:
        self._found: Groups | bool | None = False

    async def get(self) -> Groups | None:
        if isinstance(self._found, bool):
            self._found = await asyncio.to_thread(find_groups)
        return self._found

    async def reap(self, marker: str) -> int:
        groups = await self.get()
        return await asyncio.to_thread(groups.reap, marker) if groups is not None else 0


def _version_1(root: Path) -> Groups | None:
    own = dict(_own())
    bases: dict[str, Path] = {}
    for controller in _V1:
        mount = root / controller
        if (mount / "cgroup.procs").exists():
            base = mount / own.get(controller, "/").lstrip("/")
            bases[controller] = base if base.is_dir() else mount
    return Groups(1, bases) if {"memory", "pids", "cpu", "freezer"} <= bases.keys() else None


def _version_2(root: Path) -> Groups | None:
    if not (root / "cgroup.controllers").exists():
        return None
    base = root / dict(_own()).get("", "/").lstrip("/")
    base = base.parent if base.name == _LEAF else base
    base = base if base.is_dir() else root
    try:
        if not set(_V2) <= set((base / "cgroup.controllers").read_text().split()):
            return None
        if not set(_V2) <= set((base / "cgroup.subtree_control").read_text().split()):
            _open_to_children(base)
    except OSError:
        return None
    return Groups(2, dict.fromkeys(_V2, base))


_LEAF = "roost-node"


def _open_to_children(base: Path) -> None:
    """Enable the controllers for child groups. A group with such limits (except the topmost) may hold no process
    itself, so this process moves into a leaf, unless other processes are in the group. Raises `OSError`."""
    control, wanted = base / "cgroup.subtree_control", " ".join(f"+{name}" for name in _V2)
    try:
        control.write_text(wanted)
        return
    except OSError:
        inside = (base / "cgroup.procs").read_text().split()
        if inside != [str(os.getpid())]:
            raise
    (base / _LEAF).mkdir(exist_ok=True)
    (base / _LEAF / "cgroup.procs").write_text(str(os.getpid()))
    control.write_text(wanted)


def _own() -> Iterator[tuple[str, str]]:
    """Yield the groups of this process: controller (`""` for version 2) and path."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            yield name, path


def _prefix(marker: str) -> str:
    return f"roost-{blake2b(marker.encode('utf-8', 'replace'), digest_size=8).hexdigest()}-"


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
