"""Copy files within one machine by the kernel, which shares their blocks where the file system can."""

from __future__ import annotations

import errno
import os

from roost.workspace.disk_room import AT_ONCE, Space
from roost.workspace.sparse import data_ranges

_CANNOT = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.ETXTBSY)
"""Errors of `copy_file_range(2)` for unsupported file systems, or for a system call filter that forbids it."""
_CLONE = 1 << 30 | 4 << 16 | 0x94 << 8 | 9
"""FICLONE (`linux/fs.h`)."""
_CHUNK = 1 << 20
ANY = Space()


def clone(source: int, target: int) -> None:
    """Make `target` share the blocks of the whole file `source`. Raises `OSError` where that is unsupported,
    `ImportError` on systems without fcntl."""
    from fcntl import ioctl

    ioctl(target, _CLONE, source)


def copy(source: int, target: int, size: int, space: Space = ANY) -> bool:
    """Copy the first `size` bytes of one descriptor's file into another's, which is empty. Holes stay holes. Return
    False when the source is shorter. Raises `OSError`, and `ObjectsFailed` when `space` is used up."""
    if size <= _CHUNK:
        return _copy_range(source, target, 0, size, space)
    if _cloned(source, target):
        return os.fstat(target).st_size == size
    if not all(_copy_range(source, target, start, end, space) for start, end in data_ranges(source, size)):
        return False
    if os.fstat(source).st_size < size:
        return False
    os.ftruncate(target, size)
    return True


def _copy_range(source: int, target: int, offset: int, end: int, space: Space) -> bool:
    """Copy the bytes between the offsets to the same place. Return False when the source is shorter."""
    if hasattr(os, "copy_file_range"):
        try:
            while offset < end:
                some = min(end - offset, AT_ONCE)
                with space.taking(some):
                    done = os.copy_file_range(source, target, some, offset, offset)
                if not done:
                    return False
                offset += done
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
    while offset < end:
        data = os.pread(source, min(end - offset, _CHUNK), offset)
        if not data:
            return False
        view = memoryview(data)
        with space.taking(len(data)):
            while view:
                written = os.pwrite(target, view, offset)
                view, offset = view[written:], offset + written
    return True


def _cloned(source: int, target: int) -> bool:
    try:
        clone(source, target)
    except (ImportError, OSError):
        return False
    return True
