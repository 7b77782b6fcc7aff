"""Find every process that a command started, even when it tried to escape.

A command's processes are known by any of: its session, its parent, the variable ROOST_SANDBOX in the environment, and
a number in RLIMIT_LOCKS. That limit has had no effect since Linux 2.4.25, is inherited by fork, exec and setsid, stays
when the environment is cleared, and can be read for any process. A child subreaper would catch the same processes, but
the attribute belongs to a whole process (the daemon, or a program that embeds Roost) or costs a supervisor per command,
which the command could kill.
"""

from __future__ import annotations

import errno
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

ENV_NAME = "ROOST_SANDBOX"
RLIMIT_LOCKS: int | None = 10 if sys.platform == "linux" else None


def _home_number(home: str) -> int:
    return int.from_bytes(blake2b(home.encode("utf-8", "replace"), digest_size=4).digest(), "big") >> 1


class Mark(NamedTuple):
    """`home` names the daemon (all its commands), `serial` one command."""

    home: str
    serial: int

    @property
    def text(self) -> str:
        return f"{self.home}/{self.serial}"

    @property
    def number(self) -> int:
        return (_home_number(self.home) << 31) | self.serial


_GONE_OR_PRIVATE = {errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM}


def _read(pid: int, name: str) -> bytes:
    """Read a file of /proc/PID; empty when the process is gone or private. Raises `OSError` when this process cannot
    read at all (no free file descriptor), which must not look like "there is no such process"."""
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError as error:
        if error.errno in _GONE_OR_PRIVATE:
            return b""
        raise


def new_mark(home: str) -> Mark:
    return Mark(home, secrets.randbits(31) | 1)


class Process(NamedTuple):
    """What /proc/PID/stat says. `started` is in ticks since boot."""

    pid: int
    parent: int
    session: int
    started: int
    dead: bool


def read_process(pid: int) -> Process | None:
    """Return the process; None when it is gone."""
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    if len(fields) < 20:
        return None
    # A main thread that ended looks like a zombie while other threads of the process still run.
    dead = fields[0] in b"ZXx" and int(fields[17]) <= 1
    return Process(pid, int(fields[1]), int(fields[3]), int(fields[19]), dead)


def _living(started_after: int) -> list[Process]:
    if not os.path.isdir("/proc/self"):
        return []
    found = (read_process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [item for item in found if item is not None and not item.dead and item.started >= started_after]


def _lock_limit(pid: int) -> int | None:
    _, found, rest = _read(pid, "limits").partition(b"Max file locks")
    value = rest.split()[1] if found else b""
    return int(value) if value.isdigit() else None


def _environment_mark(pid: int) -> str:
    prefix = ENV_NAME.encode() + b"="
    entries = _read(pid, "environ").split(b"\0")
    values = (entry[len(prefix) :] for entry in entries if entry.startswith(prefix))
    return next((value.decode("utf-8", "replace") for value in values), "")


def _with_descendants(processes: list[Process], found: set[int]) -> set[int]:
    grown = True
    while grown:
        more = {item.pid for item in processes if item.parent in found and item.pid not in found}
        found |= more
        grown = bool(more)
    return found


def _of_command(mark: Mark, leader: int, started: int) -> set[int]:
    processes = _living(started)

    def matches(item: Process) -> bool:
        if item.session == leader or item.pid == leader:
            return True
        return _lock_limit(item.pid) == mark.number or _environment_mark(item.pid) == mark.text

    return _with_descendants(processes, {item.pid for item in processes if matches(item)}) - {leader, os.getpid()}


def _of_home(home: str) -> set[int]:
    number, prefix = _home_number(home), f"{home}/"

    def matches(pid: int) -> bool:
        limit = _lock_limit(pid)
        return (limit is not None and limit >> 31 == number) or _environment_mark(pid).startswith(prefix)

    processes = _living(0)
    found = _with_descendants(processes, {item.pid for item in processes if matches(item.pid)})
    return found - _self_and_ancestors()


def _self_and_ancestors() -> set[int]:
    line: set[int] = set()
    pid = os.getpid()
    while pid > 0 and pid not in line:
        line.add(pid)
        process = read_process(pid)
        pid = process.parent if process else 0
    return line


def _kill_until_gone(find: Callable[[], set[int]], seconds: float) -> tuple[int, set[int]]:
    """Kill what `find` returns until it returns nothing: a process that forks meanwhile is caught in the next round.
    Returns how many were killed, and those that could not be (in an uninterruptible system call)."""
    deadline, pause = time.monotonic() + seconds, 0.001
    killed: set[int] = set()
    while True:
        try:
            found = find()
        except OSError:
            if time.monotonic() > deadline:
                raise
            found = {0}
        if not found or time.monotonic() > deadline:
            return len(killed), found
        for pid in found - {0}:
            try:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            except (ProcessLookupError, PermissionError):
                continue
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def tree_of(mark: Mark, leader: int, started: int) -> set[int]:
    """Return the living processes of a command, its first one included. Raises `OSError`."""
    return _of_command(mark, leader, started) | {leader}


def kill_tree(mark: Mark, leader: int, started: int, *, seconds: float = 5.0) -> set[int]:
    """Kill every process of the command `mark`. Its first process, `leader`, must not have been reaped yet: its number
    then still names its process group. Blocks. Returns the processes that outlived `seconds`. Raises `OSError` when
    /proc stays unreadable for so long."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    return _kill_until_gone(lambda: _of_command(mark, leader, started), seconds)[1]


def reap_orphans(home: str, *, seconds: float = 5.0) -> int:
    """Kill every process that a daemon with this `home` started in a level 0 sandbox, and return how many there were.

    The daemon calls this at startup, once it is the only owner of `home` and before it runs commands. Blocks. Finds
    nothing where there is no /proc. The caller and its ancestors are spared, whatever marks they carry.
    """
    return _kill_until_gone(lambda: _of_home(home), seconds)[0]
