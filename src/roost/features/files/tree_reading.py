"""Look at the files of a tree for an index: folders and files are opened one name at a time, and no link is followed,
so nothing outside the root is read, whatever the tree's owner does meanwhile. All functions block."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

from roost.features.files.protocols import Folder

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
Sign: TypeAlias = tuple[int, int, int, int]
"""Size, time of the last change in nanoseconds, inode, time of the last change of that: files with the same sign hold
the same bytes."""


class Entry(NamedTuple):
    """sign: None for a folder."""

    name: bytes
    sign: Sign | None


class Bytes(NamedTuple):
    """The first bytes of a file. whole: they are all."""

    data: bytes
    sign: Sign
    whole: bool


@contextmanager
def opened(root: Path, folder: Folder) -> Generator[int]:
    """Open a folder of the tree. Raises `OSError`."""
    fd = os.open(root, _FOLDER)
    try:
        for name in folder.split(b"/") if folder else ():
            below = os.open(name, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


def entries(fd: int, device: int, most: int) -> list[Entry]:
    """Return the files and folders of an open folder, at most so many. Links, devices and what is mounted there are
    left out. Raises `OSError`."""
    found: list[Entry] = []
    with os.scandir(fd) as names:
        for one in names:
            if len(found) >= most:
                break
            try:
                status = one.stat(follow_symlinks=False)
            except OSError:
                continue
            if status.st_dev != device:
                continue
            if stat.S_ISREG(status.st_mode):
                found.append(Entry(os.fsencode(one.name), sign_of(status)))
            elif stat.S_ISDIR(status.st_mode):
                found.append(Entry(os.fsencode(one.name), None))
    return found


def entry(fd: int, name: bytes, device: int) -> Entry | None:
    """Return one entry of an open folder; None when there is none, or a link or a device."""
    try:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except OSError:
        return None
    if status.st_dev != device:
        return None
    if stat.S_ISREG(status.st_mode):
        return Entry(name, sign_of(status))
    return Entry(name, None) if stat.S_ISDIR(status.st_mode) else None


def read(fd: int, name: bytes, most: int) -> Bytes | None:
    """Read the beginning of a file of an open folder; None when it is no file (any more) or may not be read."""
    try:
        file = os.open(name, _FILE, dir_fd=fd)
    except OSError:
        return None
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            return None
        parts: list[bytes] = []
        left = most
        while left and (part := os.read(file, min(left, 1 << 20))):
            parts.append(part)
            left -= len(part)
        return Bytes(b"".join(parts), sign_of(status), status.st_size <= most)
    except OSError:
        return None
    finally:
        os.close(file)


def sign_of(status: os.stat_result) -> Sign:
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns


def joined(folder: Folder, name: bytes) -> Folder:
    return folder + b"/" + name if folder else name


def device_of(root: Path) -> int:
    """Return the file system of the root. Raises `OSError`."""
    return os.lstat(root).st_dev
