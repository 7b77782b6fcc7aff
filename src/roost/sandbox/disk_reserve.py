"""What is left free on the disk where the log is, whatever sessions write."""

from __future__ import annotations

import contextlib
import os
from itertools import chain
from pathlib import Path
from typing import NamedTuple

_FILES = (1000, 64 * 1024)
"""Files that must be left, but at most one for so many bytes of the disk."""
RESERVE = "reserve"
"""The file's name in a home."""
_RESERVE = 4 * 1024**2


class Free(NamedTuple):
    """`files` None: the file system does not count them."""

    bytes: int
    files: int | None
    total: int


def free_of(folder: Path) -> Free | None:
    """Where the folder lies or will lie. None when the system does not say. Blocks."""
    for place in chain((folder,), folder.parents):
        try:
            said = os.statvfs(place)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        return Free(
            said.f_bavail * said.f_frsize, said.f_favail if said.f_files else None, said.f_blocks * said.f_frsize
        )
    return None


class Floor(NamedTuple):
    """What commands leave free where `folder`, the home, is: `bytes`, but at most a sixteenth of a small disk, and some
    files. A command can be quicker than whoever looks; so there is also the file `reserve`, of 4 MB for nothing, which
    is given up when the disk is full and the command is over. Then the log can tell, and somebody make room."""

    folder: Path
    bytes: int
    reserve: Path | None = None

    def room(self, free: Free) -> int:
        """Bytes above it; negative below."""
        if free.files is not None and free.files < min(_FILES[0], free.total // _FILES[1]):
            return -1
        return free.bytes - min(self.bytes, free.total // 16)

    def keep(self, free: Free) -> None:
        """Have the reserve, if there is plenty. Blocks; two at once are fine."""
        if self.reserve is None or self.room(free) < 16 * _RESERVE or _size(self.reserve) >= _RESERVE:
            return
        if not hasattr(os, "posix_fallocate"):  # macOS
            return
        with contextlib.suppress(OSError):
            fd = os.open(self.reserve, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, _RESERVE)
            finally:
                os.close(fd)

    def give(self, free: Free) -> None:
        """Give it up, if hardly anything else is left. Blocks."""
        if self.reserve is not None and free.bytes < min(_RESERVE, free.total // 64):
            with contextlib.suppress(OSError):
                self.reserve.unlink()

    def spare(self) -> bool:
        """Give it up, because the log itself has no room. Returns whether it was there. Blocks."""
        try:
            if self.reserve is not None:
                self.reserve.unlink()
                return True
        except OSError:
            pass
        return False


def _size(file: Path) -> int:
    """It has its whole size only when all of it was allocated: who dies before leaves less."""
    try:
        return file.lstat().st_size
    except OSError:
        return 0
