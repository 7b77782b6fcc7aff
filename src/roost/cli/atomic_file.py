"""Write an output file atomically: all of it, or nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

import click

T = TypeVar("T")
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NAMELESS: int = getattr(os, "O_TMPFILE", 0)
_LACKING = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)
"""Errors of a file system without nameless files (`O_TMPFILE`)."""


def write_whole(target: Path, write: Callable[[IO[bytes]], T]) -> T:
    """Write a file through `write`. An existing file stays until the new one is complete and synced, and passes on its
    mode and owner; only its owner can read a new file. A link is followed. A pipe, a device, and standard output under
    any name, also `-`, are written directly. Raises `click.ClickException`, `OSError`, and what `write` raises."""
    there = _stat(target)
    if str(target) == "-" or (there is not None and _is_stdout(there)):
        found = write(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return found
    if (there is not None and not stat.S_ISREG(there.st_mode)) or os.path.realpath(target.parent).startswith("/proc/"):
        with target.open("wb") as out:
            return write(out)
    return _replaced(Path(os.path.realpath(target)), there, write)


def write_text(target: Path, text: str) -> None:
    """Write a text, as `write_whole`."""
    write_whole(target, lambda file: file.write(text.encode("utf-8", "surrogateescape")))


def _replaced(place: Path, there: os.stat_result | None, write: Callable[[IO[bytes]], T]) -> T:
    """Write a new file beside the old one and rename it. Where the file system can, it has no name until it is
    complete, so that a killed writer leaves nothing."""
    folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    part = f".roost-{secrets.token_hex(8)}.part"
    try:
        fd, named = _part(place.parent, part)
        with open(fd, "wb") as file:
            found = write(file)
            file.flush()
            _like(fd, there)
            os.fsync(fd)
            if not named:  # with a descriptor of the folder, the link in /proc is followed
                os.link(f"/proc/self/fd/{fd}", part, dst_dir_fd=folder)
        os.replace(part, place.name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
        return found
    finally:
        with contextlib.suppress(OSError):
            os.unlink(part, dir_fd=folder)
        os.close(folder)


def _part(folder: Path, name: str) -> tuple[int, bool]:
    """Make a new file. Returns its descriptor, and whether it has its name already."""
    try:
        if _NAMELESS and os.path.isdir("/proc/self/fd"):
            try:
                return os.open(folder, _NAMELESS | os.O_WRONLY, 0o600), False
            except OSError as error:
                if error.errno not in _LACKING:
                    raise
        return os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), True
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        raise click.ClickException(
            f"no file can be made in {folder}: {error.strerror}. Write elsewhere, or to standard output (-o -)"
        ) from error


def _like(fd: int, there: os.stat_result | None) -> None:
    if there is not None:
        with contextlib.suppress(OSError):  # a user other than root stays the owner
            os.fchown(fd, there.st_uid, there.st_gid)
        os.fchmod(fd, there.st_mode & 0o777)


def _is_stdout(there: os.stat_result) -> bool:
    try:
        return os.path.samestat(there, os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):
        return False


def _stat(path: Path) -> os.stat_result | None:
    """Return the file's status; None where there is no file."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None
