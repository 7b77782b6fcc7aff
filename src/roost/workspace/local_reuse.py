"""Copy a snapshot's files from another folder of this machine into a folder that is being made."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from threading import Event

from roost.workspace.chunk_transfer import Jobs, Traffic
from roost.workspace.copy_tree import ANY, copy
from roost.workspace.disk_room import AT_ONCE, Space
from roost.workspace.manifest import Item
from roost.workspace.scan import Signature
from roost.workspace.snapshots import Stopped
from roost.workspace.stable_read import Reader

_FILES = 256
"""Files copied after one look at the disk, unless they are larger than `AT_ONCE` together."""
_LANES = 2
"""Threads. Most of a small file's copy runs under the interpreter's lock, where more threads only wait for each
other."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Group = list[tuple[Item, Signature]]


class Borrow:
    """Copies from `near`, where others may be at work, into `new`, whose folders exist. Blocks."""

    def __init__(self, near: Path, new: Path, space: Space, stop: Event) -> None:
        self._near, self._new = near, os.fsencode(new) + b"/"
        self._space, self._stop = space, stop
        self._made: dict[bytes, os.stat_result] = {}

    def run(self, traffic: Traffic, files: Iterable[tuple[Item, Signature]]) -> dict[bytes, os.stat_result]:
        """Copy the files that still have their signatures; skip the others. Returns the copies by path. Raises
        `Stopped`, `OSError`, and `ObjectsFailed` when `space` is used up."""
        groups = deque(_grouped(files))
        with Jobs(traffic, self._stop) as jobs:
            for _ in range(min(_LANES, len(groups))):
                jobs.run(lambda: self._work(groups))
        return self._made

    def _work(self, groups: deque[Group]) -> int:
        reader = Reader(self._near)
        try:
            while groups:
                self._take(reader, groups.popleft())
        except IndexError:  # the other thread took the last group
            pass
        except BaseException:
            groups.clear()
            raise
        finally:
            reader.close()
        return 0

    def _take(self, reader: Reader, group: Group) -> None:
        if self._stop.is_set():
            raise Stopped
        size = sum(item.size for item, _ in group)
        if size > AT_ONCE:  # it is one file
            self._copy(reader, *group[0], self._space)
            return
        with self._space.taking(size):
            for item, signature in group:
                self._copy(reader, item, signature, ANY)

    def _copy(self, reader: Reader, item: Item, signature: Signature, space: Space) -> None:
        path = self._new + item.path
        try:
            source = os.open(item.path.rpartition(b"/")[2], _READ, dir_fd=reader.folder(item.path))
        except OSError:
            return
        try:
            if not _is(os.fstat(source), signature):
                return
            target = os.open(path, _CREATE, 0o600)
            try:
                if copy(source, target, item.size, space) and _is(os.fstat(source), signature):
                    os.utime(target, ns=(item.mtime_ns, item.mtime_ns))
                    os.fchmod(target, item.mode)
                    self._made[item.path] = os.fstat(target)
                else:
                    os.unlink(path)
            finally:
                os.close(target)
        finally:
            os.close(source)


def _grouped(files: Iterable[tuple[Item, Signature]]) -> Iterable[Group]:
    group, size = Group(), 0
    for item, signature in files:
        if group and (len(group) == _FILES or size + item.size > AT_ONCE):
            yield group
            group, size = [], 0
        group.append((item, signature))
        size += item.size
    if group:
        yield group


def _is(status: os.stat_result, signature: Signature) -> bool:
    return Signature(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns) == signature
