"""Commands that use all processes, memory, disk, processor or output that they can get, or that do not end.

Each ends by a limit, or by its time. They are small enough for a machine without any limits.
"""

from __future__ import annotations

import os
import sys

import msgspec

from roost.sandbox.backend import Bounds
from roost.sandbox.base import ExecResult, Quota

BOUNDS = Bounds(
    memory_bytes=256 * 1024**2,
    cpus=1.0,
    pids=48,
    disk_bytes=32 * 1024**2,
    workspace_bytes=192 * 1024**2,
    workspace_files=1000,
)
"""Limits of the sandbox that they are meant for, and of its workspace."""
_LASTING = 60
_MORE = 8.0
"""Seconds that killing a command may take."""
_FORKS = """
import os, time
for n in range(300):
    try:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
    except OSError: pass
time.sleep(60)
"""
_MEMORY = "x = bytearray(1 << 30)\nfor n in range(0, len(x), 4096): x[n] = 1\nprint('had it all')"
_DISK = "for n in $(seq 1000); do head -c 60000000 /dev/zero > {place}/big$((n % 3)) || exit 1; done"
_FILES = "import os\nos.mkdir('{place}/many')\nfor n in range(1_000_000): open(f'{place}/many/{{n}}', 'w').close()"
_ROOM = "mkdir room; for n in $(seq 100000); do head -c 40000000 /dev/zero > room/$n || exit 1; done"
_DEAF = "trap '' TERM HUP INT; while :; do sleep 1; done"
_AWAY = "(setsid sh -c 'trap \"\" TERM; (while :; do sleep 1; done) & exit' >/dev/null 2>&1 &) ; sleep 0.3; echo away"
_BUSY = "for n in 1 2 3 4; do (while :; do :; done) & done; wait"


class Bomb(msgspec.Struct, frozen=True):
    """`script`: for a shell, in the workspace. `ends`: acceptable ends, as `killed_by` or `limits` name them, or
    `exit` for an ordinary exit after failed calls, or `cut` for truncated output."""

    name: str
    script: str
    ends: frozenset[str]
    quota: Quota


def bombs(seconds: float = 3.0, *, level: int = 1) -> list[Bomb]:
    """Return all bombs for a level; each gets `seconds` of time. At level 0 `/tmp` is the machine's own and is spared,
    and memory is limited for each process alone."""

    def bomb(name: str, script: str, *ends: str, file_bytes: int | None = None) -> Bomb:
        memory = 512 * 1024**2 if level == 0 else None
        quota = Quota(wall_seconds=seconds, memory_bytes=memory, file_bytes=file_bytes)
        return Bomb(name, script, frozenset((*ends, "wall_seconds")), quota)

    def lasting(name: str, script: str, end: str) -> Bomb:
        """A bomb that must end by its limit, not by time."""
        return Bomb(name, script, frozenset({end}), Quota(wall_seconds=_LASTING * seconds))

    some = [
        bomb("fork", _python(_FORKS), "pids", "memory_bytes"),
        bomb("memory", _python(_MEMORY), "memory_bytes" if level else "exit"),
        bomb("disk: workspace", _DISK.format(place="."), "exit", file_bytes=50_000_000),
        lasting("room: workspace", _ROOM, "workspace_bytes"),
        lasting("files: workspace", _python(_FILES.format(place=".")), "workspace_files"),
        bomb("processor", _BUSY, "cpu_seconds"),
        bomb("output", "head -c 1000000000 /dev/zero; echo end", "cut"),
        bomb("deaf", _DEAF),
        bomb("away", _AWAY, "exit"),
    ]
    in_memory = [
        bomb("disk: /tmp", _DISK.format(place="/tmp"), "exit"),
        bomb("files: /tmp", _python(_FILES.format(place="/tmp")), "memory_bytes", "exit"),
    ]
    return some if level == 0 else some + in_memory


def ended(bomb: Bomb, result: ExecResult) -> str | None:
    """Return None when the bomb ended as it should, else the problem."""
    if result.seconds > bomb.quota.wall_seconds + _MORE:
        return f"it ran for {result.seconds:.1f} s"
    how = {*result.limits, *([result.killed_by] if result.killed_by else ["exit"])}
    how |= {"cut"} if result.truncated else set()
    if "had it all" in result.stdout or not how & bomb.ends:
        return f"it ended by {', '.join(sorted(how))}: {result.stdout[-100:]!r} {result.stderr[-100:]!r}"
    return None


def _python(program: str) -> str:
    return f"{os.path.realpath(sys.executable)} -I -S - <<'END'\n{program}\nEND"
