"""Start Firecracker: by its jailer where the daemon is root, else as the daemon's own user.

The jailer gives it its own user, and a folder that it cannot leave; its only device is `/dev/kvm`. Firecracker's own
filter of system calls is on in both cases. The jailer empties the environment, so `reap` finds orphans of a crash by a
number in RLIMIT_LOCKS (`roost.sandbox.process_marks`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from roost.sandbox.process_marks import new_mark

SOCKET = "api.sock"
"""Name of the API's socket, in Firecracker's folder."""
_NAME = "vm"
_FIRST, _USERS = 0x70000000, 0x8000000
"""Range of user numbers that systemd's `docs/UIDS-GIDS.md` lists as "unused"."""
_LOCKS = '{ ulimit -w "$1" || ulimit -x "$1"; } 2>/dev/null; cd "$2" || exit 70; shift 2; '
_OPEN = 'mount --bind . "$PWD" && mount -o remount,bind,dev,exec "$PWD" && cd "$PWD" && '


class Jail(NamedTuple):
    """`folder`: a body's. `jailer`: None for none. `root`: the folder that Firecracker sees as its own; file names
    relative to it are the same inside and outside."""

    program: str
    jailer: str | None
    folder: Path

    @property
    def root(self) -> Path:
        if self.jailer is None:
            return self.folder / _NAME
        return self.folder / Path(os.path.realpath(self.program)).name / _NAME / "root"

    @property
    def user(self) -> int:
        """Number of the user that Firecracker runs as."""
        return _FIRST + crc32(self.folder.name.encode()) % _USERS if self.jailer is not None else os.geteuid()

    def argv(self, marker: str) -> Sequence[str]:
        start = [self.program] if self.jailer is None else self._jailed(self.jailer)
        start += ["--api-sock", SOCKET, "--level", "Error"]
        if self.jailer is None:
            return ["/bin/sh", "-c", f'{_LOCKS}exec "$@"', "sh", str(new_mark(marker).number), str(self.root), *start]
        where = os.statvfs(self.folder).f_flag
        closed = where & (os.ST_NODEV | os.ST_NOEXEC)  # common mount options of `/tmp`
        around = ["unshare", "--mount", "--propagation", "private"] if closed else []
        script = f'{_LOCKS}{_OPEN if closed else ""}exec "$@"'
        return [*around, "/bin/sh", "-c", script, "sh", str(new_mark(marker).number), str(self.folder), *start]

    def _jailed(self, jailer: str) -> list[str]:
        who = str(self.user)
        return [
            jailer, "--id", _NAME, "--exec-file", self.program, "--uid", who, "--gid", who,
            "--chroot-base-dir", str(self.folder), "--",
        ]  # fmt: skip

    def give(self, name: str) -> None:
        """Give the file to Firecracker to write. Blocks."""
        place = self.root / name
        if self.jailer is not None:
            os.chown(place, self.user, self.user)
        place.chmod(0o600)


def find_jailer(program: str) -> str | None:
    """Return the jailer beside Firecracker, with a matching name, else the one on PATH."""
    place = Path(os.path.realpath(program))
    beside = place.with_name(place.name.replace("firecracker", "jailer"))
    return str(beside) if beside != place and os.access(beside, os.X_OK) else shutil.which("jailer")
