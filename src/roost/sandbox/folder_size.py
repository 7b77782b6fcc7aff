"""Measure the size of a folder while others may change it. Follows no links, and opens only folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_UNIT = 512
"""Bytes of one unit of `st_blocks`, independent of the file system's own block size (stat(2))."""
_ONCE = 2048
"""Blocks (1 MiB) from which a file is remembered, so that a rename during the walk does not count it twice. Only so
many files of this size can exist."""
_TOP, _NEAR = 8, 16
"""Folders kept open at once: the first levels, and the last ones."""


class Size(NamedTuple):
    """`bytes`: allocated ones; a sparse file has few, and a file with several names counts once. `files`: names,
    folders and all other kinds included. `whole` False: counting stopped at the limit. `torn`: folders were moved
    during the walk, so that others were missed."""

    bytes: int
    files: int
    whole: bool = True
    torn: bool = False


class _Open:
    """A folder on the current path. `fd` is -1 while it is closed. `below`: names of its folders not yet visited."""

    __slots__ = ("below", "fd", "key")

    def __init__(self, fd: int, key: tuple[int, int], below: list[str]) -> None:
        self.fd, self.key, self.below = fd, key, below


class _Enough(Exception):
    pass


class Measure:
    """Measures one folder. Blocks: 3 to 4 µs for each name. `stop` is called for each name; True ends the walk."""

    def __init__(self, *, most: int, stop: Callable[[], bool] = lambda: False) -> None:
        self._most, self._stop = most, stop
        self._bytes = self._files = 0
        self._torn = False
        self._seen: set[tuple[int, int]] = set()
        self._way: list[_Open] = []

    def of(self, root: Path) -> Size | None:
        """Return the size; None when `stop` ended the walk. Stops counting above `most` names. A missing folder is
        empty. Raises `OSError`."""
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
        if here.fd < 0:  # it was moved away during the visit of its folders
            self._torn |= bool(here.below)
            self._way.pop()
        elif here.below:
            try:
                fd = os.open(here.below.pop(), _FOLDER, dir_fd=here.fd)
            except OSError:  # removed, replaced by a link, or not readable
                return
            self._enter(fd)
        else:
            self._leave()

    def _enter(self, fd: int) -> None:
        self._way.append(here := _Open(fd, (0, 0), []))  # first, so that `of` closes it on any error
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
        """Go back up. When the folder above was closed, reopen it by `..`, if that is still the same folder."""
        gone = self._way.pop()
        above = self._way[-1] if self._way else None
        if above is not None and above.fd < 0:
            above.fd = _above(gone.fd, above.key)
        _close(gone)


def _above(below: int, key: tuple[int, int]) -> int:
    """Open the folder above, if it has this key; else return -1."""
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
