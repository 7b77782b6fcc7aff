"""Start a level 0 command as another user of this machine; for a daemon that is root.

`setpriv` (util-linux) changes the user for good: no capability, no new privileges, no group but its own. A private
workspace lies in a home that no other user may enter. So where the user cannot pass a folder on the way to the
workspace, or to the Python that the tools run, the command gets its own mounts (`unshare`): an empty folder covers that
one, with only the needed paths mounted in it. The user could not have reached the rest of it anyway.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from roost.sandbox import mounts
from roost.sandbox.base import User

_TOOLS = ("setpriv", "unshare", "mount")
_FIRST_FD, _LAST_FD = 3, 9
"""The only descriptors that a shell can name."""
_TRIAL = 20.0


def words_as(user: User, workspace: Path, cwd: str) -> list[str]:
    """Return the words to put before a command, so that it runs as `user` in `cwd`. Blocks for a moment."""
    uid, gid = str(user.uid), str(user.gid)
    become = ["setpriv", "--reuid", uid, "--regid", gid, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    become += ["--no-new-privs", "--"]
    covered = _covered(user, [workspace, *mounts.python()])
    if not covered:
        return become
    steps = [step for folder, shown in covered.items() for step in _cover(folder, shown)]
    steps += [f"cd {shlex.quote(cwd)}", 'exec "$@"']
    return ["unshare", "--mount", "--", "/bin/sh", "-c", " && ".join(steps), "sh", *become]


def fault(user: User, workspace: Path, program: Sequence[str]) -> str | None:
    """Run `program` as `user` in `workspace`, which belongs to that user. Returns why that fails, or None. Blocks for
    some milliseconds."""
    missing = [name for name in _TOOLS if shutil.which(name) is None]
    if missing:
        return f"there is no {missing[0]} on PATH (util-linux has it)"
    run = [*words_as(user, workspace, str(workspace)), *program]
    try:
        done = subprocess.run(
            run, cwd=workspace, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TRIAL, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.strip()[-300:] or f"exit code {done.returncode}"


def _covered(user: User, wanted: Iterable[Path]) -> dict[Path, list[Path]]:
    """Map each folder that `user` cannot pass to the outermost paths of `wanted` below it."""
    found: dict[Path, list[Path]] = {}
    for path in dict.fromkeys(wanted):
        closed = next((each for each in reversed(path.parents) if not _may_pass(user, each)), None)
        if closed is not None:
            found.setdefault(closed, []).append(path)
    return {folder: _outermost(paths) for folder, paths in found.items()}


def _outermost(paths: list[Path]) -> list[Path]:
    return [path for path in paths if not any(other in path.parents for other in paths)]


def _may_pass(user: User, folder: Path) -> bool:
    """Decide by the folder's mode alone."""
    try:
        status = os.stat(folder)
    except OSError:
        return False
    if status.st_uid == user.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == user.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _cover(folder: Path, shown: Sequence[Path]) -> list[str]:
    """Return the shell steps that cover `folder`. Shown paths are opened first, then mounted by descriptor."""
    given = list(zip(range(_FIRST_FD, _LAST_FD + 1), (shlex.quote(str(path)) for path in shown), strict=False))
    steps = [f"exec {fd}<{path}" for fd, path in given]
    steps.append(f"mount -t tmpfs -o size=64k,mode=755,nosuid,nodev roost {shlex.quote(str(folder))}")
    for fd, path in given:
        steps.append(f"(umask 022 && mkdir -p {path}) && mount -c --rbind /proc/self/fd/{fd} {path} && exec {fd}<&-")
    return steps
