"""Read a workspace's files while other processes may write them."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from roost.workspace.manifest import HOLE, PIECE
from roost.workspace.scan import Signature, signature_of
from roost.workspace.sparse import is_sparse, next_data

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_TRIES = 3
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""Errors of a missing file; also when a link or a file has replaced a folder on the path."""


class Content(NamedTuple):
    """A file as it was read. `steady`: it did not change meanwhile."""

    mode: int
    size: int
    mtime_ns: int
    signature: Signature | None
    pieces: list[bytes]
    steady: bool


class Reader:
    """Opens files below `root` by descriptors, one name at a time, so that no link is followed. Keeps the last folder
    open: read in the order of the paths. For one thread."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = b""
        self._fd: int | None = None

    def read(self, path: bytes, take: Callable[[bytes], bytes]) -> Content | None:
        """Read a file. `take` gets the bytes piece by piece and returns a digest of each; after a retry its earlier
        pieces are void. A file that keeps changing is returned as the last try found it; of one that only grows, that
        is its content at the try's beginning. None when there is no such file any more. Raises `OSError`."""
        content = None
        for _ in range(_TRIES):
            content = self._once(path, take)
            if content is None or content.steady:
                return content
        return content

    def folder(self, path: bytes) -> int:
        """Return a descriptor of the folder that holds `path`, valid until the next call. Raises `OSError`."""
        folder = path.rpartition(b"/")[0]
        if self._fd is None or folder != self._folder:
            self.close()
            self._fd = self._walk(folder)
            self._folder = folder
        return self._fd

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _walk(self, folder: bytes) -> int:
        fd = os.open(self._root, _FOLDER)
        for name in folder.split(b"/") if folder else ():
            try:
                below = os.open(name, _FOLDER, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        return fd

    def _once(self, path: bytes, take: Callable[[bytes], bytes]) -> Content | None:
        now = time.time_ns()
        try:
            fd = os.open(path.rpartition(b"/")[2], _FILE, dir_fd=self.folder(path))
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise
        try:
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode):
                return None
            pieces: list[bytes] = []
            left = before.st_size
            for data in _parts(fd, before):
                pieces.append(take(data))
                left -= len(data)
            after = os.fstat(fd)
        finally:
            os.close(fd)
        steady = not left and _state(before) == _state(after)
        signature = signature_of(after, now) if steady else None
        size = before.st_size - left
        return Content(stat.S_IMODE(after.st_mode) & 0o777, size, after.st_mtime_ns, signature, pieces, steady)


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _parts(fd: int, status: os.stat_result) -> Iterator[bytes]:
    """Yield the file's pieces in order; fewer when it became shorter. Holes are not read."""
    size, sparse = status.st_size, is_sparse(status)
    data_at = 0
    for at in range(0, size, PIECE):
        end = min(at + PIECE, size)
        if sparse and data_at <= at:
            data_at = next_data(fd, at, size)
        hole = sparse and data_at >= end
        data = HOLE[: end - at] if hole else _exactly(fd, end - at, at)
        if data:
            yield data
        if len(data) < end - at:
            return


def _exactly(fd: int, size: int, at: int) -> bytes:
    """Read so many bytes; fewer only at the file's end."""
    data = os.pread(fd, size, at)
    if len(data) == size or not data:
        return data
    parts = [data]
    left = size - len(data)
    while left and (more := os.pread(fd, left, at + size - left)):
        parts.append(more)
        left -= len(more)
    return b"".join(parts)
