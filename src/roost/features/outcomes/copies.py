"""Copy a folder on one machine, for a check that may change it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator
from pathlib import Path
from threading import Event

from roost.errors import TooLarge
from roost.workspace.copy_tree import copy

MOST_BYTES, MOST_ENTRIES = 4 << 30, 300_000
"""Largest folder that is copied."""
_DEEP = 128
"""Most folders in each other; each one is an open descriptor and a call on the stack."""


class _Copying:
    """One copy: of what, to where, and how much may still be copied. leave: identity of a folder that is left out.
    stop: set to end it before the next entry."""

    def __init__(self, source: Path, target: Path, leave: tuple[int, int] | None, stop: Event) -> None:
        self.leave, self.stop = leave, stop
        self.sources, self.target = (str(source), str(source.resolve())), str(target)
        self.bytes, self.entries = MOST_BYTES, MOST_ENTRIES

    def take(self, size: int) -> None:
        if self.stop.is_set():
            raise OSError(errno.ECANCELED, "the copy was stopped")
        self.bytes -= size
        self.entries -= 1
        if self.bytes < 0 or self.entries < 0:
            raise TooLarge(
                f"the folder is too large to be copied for a check: at most {MOST_BYTES >> 30} GiB and {MOST_ENTRIES}"
                " entries"
            )

    def link(self, link: str, made: Path) -> str:
        """Return a link's content for the copy: one that leads into the original by its path leads into the copy."""
        place = os.path.dirname(made)
        if _inside(os.path.normpath(os.path.join(place, link)), self.target):
            return link
        for source in self.sources:
            aim = os.path.normpath(os.path.join(source + place[len(self.target) :], link))
            if _inside(aim, source):
                return self.target + aim[len(source) :]
        return link


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def copy_folder(source: Path, target: Path, *, leave: Path | None = None, stop: Event | None = None) -> None:
    """Copy folders, files and links, with owners where this is root, and without special files. Blocks are shared where
    the file system can. A link into the source leads into the copy. A file that may not be read is left out, and a
    folder that may not be read is empty. leave: a folder that is not copied, wherever it lies. stop: set
    to end the copy early, with `OSError`. Blocks. Raises `OSError`, `TooLarge`; what was copied by then stays."""
    copying = _Copying(source, target, None if leave is None else _identity(leave.stat()), stop or Event())
    os.makedirs(target.parent, mode=0o700, exist_ok=True)
    with _opened(source.resolve(), os.O_DIRECTORY) as folder:
        _copy_folder(folder, target, copying)


def _identity(about: os.stat_result) -> tuple[int, int]:
    return about.st_dev, about.st_ino


def _copy_folder(source: int, target: Path, copying: _Copying, depth: int = 0) -> None:
    """Copy an open folder. Each entry is opened below its open folder and never through a link: commands of the agent
    may still run, and put a link to a file outside in the place of a folder."""
    if depth > _DEEP:
        raise TooLarge(f"the folder is too deep to be copied for a check: at most {_DEEP} folders in each other")
    about = os.fstat(source)
    os.mkdir(target, 0o700)
    with os.scandir(source) as entries:
        for entry in entries:
            made = target / entry.name
            try:
                one = entry.stat(follow_symlinks=False)
                if _identity(one) == copying.leave:
                    continue
                copying.take(one.st_size if stat.S_ISREG(one.st_mode) else 0)
                if stat.S_ISLNK(one.st_mode):
                    os.symlink(copying.link(os.readlink(entry.name, dir_fd=source), made), made)
                    _own(made, one)
                elif stat.S_ISDIR(one.st_mode):
                    with _readable(entry.name, os.O_DIRECTORY, source) as below:
                        if below is None:
                            os.mkdir(made, 0o700)
                        else:
                            _copy_folder(below, made, copying, depth + 1)
                elif stat.S_ISREG(one.st_mode):
                    with _readable(entry.name, os.O_NONBLOCK, source) as file:
                        if file is not None:
                            _copy_file(file, made, one)
            except FileNotFoundError:  # removed meanwhile
                continue
    _own(target, about)
    os.chmod(target, stat.S_IMODE(about.st_mode) & 0o777)
    os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))


@contextlib.contextmanager
def _opened(path: str | Path, flags: int, folder: int | None = None) -> Generator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _readable(name: str, flags: int, folder: int) -> Generator[int | None]:
    """Open an entry. Yields None if it may not be read."""
    with contextlib.ExitStack() as stack:
        try:
            descriptor = stack.enter_context(_opened(name, flags, folder))
        except PermissionError:
            descriptor = None
        yield descriptor


def _copy_file(source: int, target: Path, about: os.stat_result) -> None:
    theirs = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        copy(source, theirs, about.st_size)
        if os.geteuid() == 0:
            os.fchown(theirs, about.st_uid, about.st_gid)
        os.fchmod(theirs, stat.S_IMODE(about.st_mode) & 0o777)  # no setuid
    finally:
        os.close(theirs)
    os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))


def _own(path: Path, about: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.lchown(path, about.st_uid, about.st_gid)
