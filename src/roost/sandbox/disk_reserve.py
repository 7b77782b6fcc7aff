"""The disk reserve: space that commands must leave free on the log's file system."""

from __future__ import annotations

import contextlib
import os
from itertools import chain
from pathlib import Path
from typing import NamedTuple

_FILES = (1000, 64 * 1024)
"""Files that must stay free, but at most one for so many bytes of the disk."""
RESERVE = "reserve"
"""The file's name in a home."""
_RESERVE = 4 * 1024**2


class Free(NamedTuple):
    """Free space of a file system. `files` is None when the file system does not count them."""

    bytes: int
    files: int | None
    total: int


def free_of(folder: Path) -> Free | None:
    """Return the free space where the folder lies or will lie; None when it is unknown. Blocks."""
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


class DiskReserve(NamedTuple):
    """The space that commands must leave free where `folder`, the home, is.

    `bytes`: the amount, but at most a sixteenth of a small disk; some files must stay free too. A fast command can fill
    the disk between two checks, so the file `reserve` holds 4 MB: it is deleted when the disk is full after a command.
    Then the log can record that, and the user can free space."""

    folder: Path
    bytes: int
    reserve: Path | None = None

    def room(self, free: Free) -> int:
        """Return the bytes above the floor; negative below it."""
        if free.files is not None and free.files < min(_FILES[0], free.total // _FILES[1]):
            return -1
        return free.bytes - min(self.bytes, free.total // 16)

    def keep(self, free: Free) -> None:
        """Make the reserve file, if there is plenty of space. Blocks; concurrent calls are safe."""
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
        """Delete the reserve file, if hardly any other space is left. Blocks."""
        if self.reserve is not None and free.bytes < min(_RESERVE, free.total // 64):
            with contextlib.suppress(OSError):
                self.reserve.unlink()

    def spare(self) -> bool:
        """Delete the reserve file, because the log itself has no space. Returns whether there was one. Blocks."""
        try:
            if self.reserve is not None:
                self.reserve.unlink()
                return True
        except OSError:
            pass
        return False


def _size(file: Path) -> int:
    """Return the size of the file, 0 if absent. A process that died while allocating leaves less than all of it."""
    try:
        return file.lstat().st_size
    except OSError:
        return 0
