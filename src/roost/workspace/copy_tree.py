"""Copies of files within one machine: by the kernel, which shares their blocks where the file system can."""

from __future__ import annotations

import errno
import os

from roost.workspace.disk_room import AT_ONCE, Space
from roost.workspace.sparse import data_ranges

_CANNOT = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.ETXTBSY)
"""`copy_file_range(2)`: other file systems than it knows, or a kernel's filter that forbids it."""
_CLONE = 1 << 30 | 4 << 16 | 0x94 << 8 | 9
"""FICLONE (`linux/fs.h`)."""
_CHUNK = 1 << 20
ANY = Space()


def clone(source: int, target: int) -> None:
    """The whole file, which is written nowhere again. Raises `OSError` where there is no such thing, `ImportError` on
    other systems."""
    from fcntl import ioctl

    ioctl(target, _CLONE, source)


def copy(source: int, target: int, size: int, space: Space = ANY) -> bool:
    """Copy `size` bytes from the beginning of one descriptor's file into another's, which is empty. Holes stay holes.
    Return False when there were not so many. Raises `OSError`, and `ObjectsFailed` when `space` ends."""
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
    """Copy what is between the offsets to the same place. Return False when the source ends before."""
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
