"""Subvolumes of btrfs, by its ioctls (`linux/btrfs.h`, which never change). A subvolume is a folder that can be copied
as another one at once, at a cost that does not depend on its size."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections.abc import Generator
from pathlib import Path

_ROOT_INODE = 256
"""`BTRFS_FIRST_FREE_OBJECTID`: inode of the top folder of every subvolume."""
_WRITE, _READ = 1 << 30, 2 << 30
_MAGIC = 0x94 << 8
_CREATE = _WRITE | 4096 << 16 | _MAGIC | 14
_DESTROY = _WRITE | 4096 << 16 | _MAGIC | 15
_SNAPSHOT = _WRITE | 4096 << 16 | _MAGIC | 23
_SET_FLAGS = _WRITE | 8 << 16 | _MAGIC | 26
_INFO = _READ | 504 << 16 | _MAGIC | 60
_READ_ONLY = 1 << 1
_CTRANSID = 8 + 256 + 4 * 8 + 3 * 16
"""Offset in `btrfs_ioctl_get_subvol_info_args` of the last transaction that changed something."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def create(path: Path) -> None:
    """Make a subvolume. Raises `OSError`: ENOTTY on other file systems."""
    _call(path.parent, _CREATE, struct.pack("=q4088s", 0, os.fsencode(path.name)))


def snapshot(source: Path, path: Path, *, read_only: bool = False) -> None:
    """Make `path` a copy of `source`, with all that was written to it so far. Raises `OSError`."""
    with _opened(source) as fd:
        flags = _READ_ONLY if read_only else 0
        _call(path.parent, _SNAPSHOT, struct.pack("=qQQ32x4040s", fd, 0, flags, os.fsencode(path.name)))


def destroy(path: Path) -> None:
    """Remove a subvolume at once, with its content. Raises `OSError`: EPERM for a user other than root where the file
    system is not mounted with `user_subvol_rm_allowed`."""
    argument = struct.pack("=q4088s", 0, os.fsencode(path.name))
    try:
        _call(path.parent, _DESTROY, argument)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        with _opened(path) as fd:  # its owner, unlike root, may not remove a read-only one
            _ioctl(fd, _SET_FLAGS, bytes(8))
        _call(path.parent, _DESTROY, argument)


def is_subvolume(path: Path) -> bool:
    try:
        return os.lstat(path).st_ino == _ROOT_INODE and changed(path) >= 0
    except OSError:
        return False


def changed(path: Path) -> int:
    """Return the number of the last transaction that changed the subvolume. Raises `OSError`."""
    with _opened(path) as fd:
        data = _ioctl(fd, _INFO, bytes(504))
    return int.from_bytes(data[_CTRANSID : _CTRANSID + 8], "little")


def _call(folder: Path, request: int, argument: bytes) -> None:
    with _opened(folder) as fd:
        _ioctl(fd, request, argument)


def _ioctl(fd: int, request: int, argument: bytes) -> bytes:
    from fcntl import ioctl  # missing on some systems

    buffer = bytearray(argument)
    ioctl(fd, request, buffer)
    return bytes(buffer)


@contextlib.contextmanager
def _opened(folder: Path) -> Generator[int]:
    fd = os.open(folder, _FOLDER)
    try:
        yield fd
    finally:
        os.close(fd)
