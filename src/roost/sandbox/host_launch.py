"""Prepare the start of a level 0 command: limits, environment, argument vector.

The limits are set by `sh -c 'ulimit …; exec "$@"'`. It costs 0.5 ms; a `preexec_fn` forbids vfork, which costs 10 ms in
a process of 200 MB and can deadlock in one with threads; a Python launcher costs 8 ms.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Mapping, Sequence

from roost.sandbox.base import Quota
from roost.sandbox.process_marks import ENV_NAME, RLIMIT_LOCKS, Mark

_SHELL = "/bin/sh"
_NICE = 10
_FALLBACK_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _clamped(wanted: int, kind: int) -> int:
    """Clamp to the hard limit: a shell told to raise a hard limit stops instead of running the command."""
    hard = resource.getrlimit(kind)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def _script(quota: Quota, mark: Mark) -> str:
    steps = ["ulimit -c 0"]
    if quota.cpu_seconds is not None:
        hard = _clamped(quota.cpu_seconds + 1, resource.RLIMIT_CPU)
        steps += [f"ulimit -t {hard}", f"ulimit -S -t {min(quota.cpu_seconds, hard)}"]
    if quota.memory_bytes is not None:
        steps.append(f"ulimit -v {_clamped(quota.memory_bytes, resource.RLIMIT_AS) // 1024}")
    if quota.file_bytes is not None:
        steps.append(f"ulimit -f {_clamped(quota.file_bytes, resource.RLIMIT_FSIZE) // 512}")
    if quota.open_files is not None:
        steps.append(f"ulimit -n {_clamped(quota.open_files, resource.RLIMIT_NOFILE)}")
    if RLIMIT_LOCKS is not None and resource.getrlimit(RLIMIT_LOCKS)[1] == resource.RLIM_INFINITY:
        steps.append(f"ulimit -w {mark.number} || ulimit -x {mark.number}")
    return "{ " + "; ".join(steps) + '; } 2>/dev/null; exec "$@"'


def launch_argv(argv: Sequence[str], quota: Quota, mark: Mark) -> list[str]:
    return [_SHELL, "-c", _script(quota, mark), "sh", *argv]


def stand_back(pid: int) -> None:
    """Lower the priority of the process and its children below the daemon's, so that no command delays other sessions.
    Linux also schedules by process session (sched(7), autogroup), so that one is lowered as well."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, _NICE)
    if sys.platform == "linux":
        with contextlib.suppress(OSError), open(f"/proc/{pid}/autogroup", "w") as file:
            file.write(str(_NICE))


def launch_env(cwd: str, extra: Mapping[str, str] | None, mark: Mark) -> dict[str, str]:
    """Build the environment from nothing: of the daemon's variables only PATH reaches a command, so no secret does."""
    env = {
        "PATH": os.environ.get("PATH") or _FALLBACK_PATH,
        "HOME": cwd,
        "PWD": cwd,
        "LANG": "C.UTF-8",
        "TERM": "dumb",
    }
    env.update(extra or {})
    env[ENV_NAME] = mark.text
    return env
