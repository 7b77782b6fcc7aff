"""How much a folder takes, whatever is done to it meanwhile: nothing is followed, nothing opened but folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_UNIT = 512
"""Bytes of one of `st_blocks`, whatever the file system's own blocks are (stat(2))."""
_ONCE = 2048
"""Blocks (1 MiB) from which a file is remembered: what is renamed while we look must not count twice, and there can
only be so many of this size."""
_TOP, _NEAR = 8, 16
"""Folders that are open at once: the first levels, and the last ones."""


class Size(NamedTuple):
    """`bytes` are those allocated: a sparse file has few, a file with several names has them once. `files` are names,
    of folders and whatever else too. Not `whole`: there are more than were to be counted. `torn`: folders were moved
    while we were in them, so that others were not found."""

    bytes: int
    files: int
    whole: bool = True
    torn: bool = False


class _Open:
    """A folder on the way down; `fd` is -1 while it is closed, `below` are the names of its folders still to go to."""

    __slots__ = ("below", "fd", "key")

    def __init__(self, fd: int, key: tuple[int, int], below: list[str]) -> None:
        self.fd, self.key, self.below = fd, key, below


class _Enough(Exception):
    pass


class Measure:
    """Blocks: 3 to 4 µs for each name. `stop` is asked for each name whether nobody wants to know any more."""

    def __init__(self, *, most: int, stop: Callable[[], bool] = lambda: False) -> None:
        self._most, self._stop = most, stop
        self._bytes = self._files = 0
        self._torn = False
        self._seen: set[tuple[int, int]] = set()
        self._way: list[_Open] = []

    def of(self, root: Path) -> Size | None:
        """None when it was stopped. Above `most` names it does not go on. A folder that is not there is empty. Raises
        `OSError`."""
        try:
            self._enter(os.open(root, _FOLDER))
            while self._way:
                self._step()
        except FileNotFoundError:
            return Size(0, 0)
        except _Enough:
            return None if self._files <= self._most else Size(self._bytes, self._files, whole=False)
        finally:
            for folder in self._way:
                _close(folder)
        return Size(self._bytes, self._files, torn=self._torn)

    def _step(self) -> None:
        here = self._way[-1]
        if here.fd < 0:  # it was moved away while we were below
            self._torn |= bool(here.below)
            self._way.pop()
        elif here.below:
            try:
                fd = os.open(here.below.pop(), _FOLDER, dir_fd=here.fd)
            except OSError:  # gone, or become a link, or not to be read
                return
            self._enter(fd)
        else:
            self._leave()

    def _enter(self, fd: int) -> None:
        self._way.append(here := _Open(fd, (0, 0), []))  # it is closed, whatever happens now
        status = os.fstat(fd)
        here.key = (status.st_dev, status.st_ino)
        if here.key in self._seen:
            self._leave()
            return
        self._seen.add(here.key)
        self._bytes += status.st_blocks * _UNIT
        self._list(here)
        if (far := len(self._way) - 1 - _NEAR) >= _TOP:
            _close(self._way[far])

    def _list(self, here: _Open) -> None:
        with os.scandir(here.fd) as entries:
            for entry in entries:
                if self._files > self._most or self._stop():
                    raise _Enough
                self._files += 1
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    here.below.append(entry.name)
                elif not self._known(status):
                    self._bytes += status.st_blocks * _UNIT

    def _known(self, status: os.stat_result) -> bool:
        if status.st_nlink < 2 and status.st_blocks < _ONCE:
            return False
        key = (status.st_dev, status.st_ino)
        known = key in self._seen
        self._seen.add(key)
        return known

    def _leave(self) -> None:
        """Up again. The folder above may have been closed; then it is the one that this one lies in, if that is still
        the same."""
        gone = self._way.pop()
        above = self._way[-1] if self._way else None
        if above is not None and above.fd < 0:
            above.fd = _above(gone.fd, above.key)
        _close(gone)


def _above(below: int, key: tuple[int, int]) -> int:
    """The folder around, if it is the one with this key; else -1."""
    try:
        fd = os.open("..", _FOLDER, dir_fd=below)
    except OSError:
        return -1
    status = os.fstat(fd)
    if (status.st_dev, status.st_ino) == key:
        return fd
    os.close(fd)
    return -1


def _close(folder: _Open) -> None:
    if folder.fd >= 0:
        os.close(folder.fd)
        folder.fd = -1
