"""Holes of sparse files: find them without reading, and leave them out when writing."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

_BLOCK = 4096
_ZEROS = bytes(_BLOCK)
_SEEK_DATA: int | None = getattr(os, "SEEK_DATA", None)
_SEEK_HOLE: int | None = getattr(os, "SEEK_HOLE", None)


def is_sparse(status: os.stat_result) -> bool:
    """Return whether the file has fewer blocks than its size needs."""
    return status.st_blocks * 512 < status.st_size


def next_data(fd: int, at: int, end: int) -> int:
    """Return where the first data at or after `at` begins, or `end` when a hole reaches that far. A file system that
    does not know of holes has data everywhere. Moves the descriptor's offset."""
    if _SEEK_DATA is None:
        return at
    try:
        return min(os.lseek(fd, at, _SEEK_DATA), end)
    except OSError as error:
        return end if error.errno == errno.ENXIO else at


def data_ranges(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each range of data in the first `size` bytes. Moves the descriptor's offset."""
    at = 0
    while (at := next_data(fd, at, size)) < size:
        end = _hole(fd, at, size)
        yield at, end
        at = end


def _hole(fd: int, at: int, end: int) -> int:
    if _SEEK_HOLE is None:
        return end
    try:
        return min(os.lseek(fd, at, _SEEK_HOLE), end)
    except OSError:
        return end


def write_at(fd: int, data: bytes, offset: int) -> None:
    """Write at `offset`, and leave a hole for each block of zeros. The caller sets the file's size."""
    for start, end in _without_zeros(data):
        view = memoryview(data)[start:end]
        while view:
            written = os.pwrite(fd, view, offset + start)
            view, start = view[written:], start + written


def _without_zeros(data: bytes) -> Iterator[tuple[int, int]]:
    if _ZEROS not in data:
        yield 0, len(data)
        return
    start: int | None = None
    for at in range(0, len(data), _BLOCK):
        block = data[at : at + _BLOCK]
        if block == _ZEROS[: len(block)]:
            if start is not None:
                yield start, at
            start = None
        elif start is None:
            start = at
    if start is not None:
        yield start, len(data)
