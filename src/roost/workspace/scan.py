"""List the entries in a folder: every name once. Follows no link, and opens only folders."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from roost.errors import TooLarge
from roost.workspace.manifest import Kind

_DEPTH = 250
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TICK_NS = 20_000_000
"""File systems stamp by the kernel's clock tick, of 10 ms at most: two changes in one tick have the same time."""
_COARSE_NS = 2_100_000_000
"""For file systems that keep whole seconds (or two, FAT)."""


class Signature(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Files with an equal signature hold the same bytes. `ctime_ns` also reveals a file with a forged old mtime."""

    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int


class Found(NamedTuple):
    """One entry. `signature` is None when the file changed so recently that a further change might not show."""

    path: bytes
    kind: Kind
    mode: int
    signature: Signature | None
    size: int
    mtime_ns: int
    target: bytes


class Tree(NamedTuple):
    """`found`: in `manifest.order`. `skipped`: entries that cannot be saved, each as `path: why`."""

    found: list[Found]
    skipped: list[str]


def scan(root: Path, *, files: int) -> Tree:
    """List the folder. Blocks. Returns an empty tree for a missing `root`. Raises `TooLarge` above `files` names or 250
    levels."""
    tree = Tree([], [])
    try:
        top = os.open(root, _FOLDER)
    except FileNotFoundError:
        return tree
    now = time.time_ns()
    stack: list[tuple[int, bytes, Iterator[os.DirEntry[str]]]] = [(top, b"", _entries(top))]
    try:
        while stack:
            fd, prefix, entries = stack[-1]
            entry = next(entries, None)
            if entry is None:
                os.close(stack.pop()[0])
                continue
            below = _take(tree, fd, prefix, entry, now)
            if below is not None:
                stack.append((below, prefix + os.fsencode(entry.name) + b"/", _entries(below)))
            if len(tree.found) > files:
                raise TooLarge(f"the workspace has more than {files} files and folders: too many to save")
            if len(stack) > _DEPTH:
                raise TooLarge(f"the workspace is more than {_DEPTH} folders deep: too deep to save")
    finally:
        for fd, _, _ in stack:
            os.close(fd)
    return tree


def _entries(fd: int) -> Iterator[os.DirEntry[str]]:
    with os.scandir(fd) as entries:
        return iter(sorted(entries, key=lambda entry: os.fsencode(entry.name)))


def _take(tree: Tree, fd: int, prefix: bytes, entry: os.DirEntry[str], now: int) -> int | None:
    """Record one entry. Returns a descriptor of a folder, to list it next."""
    name = os.fsencode(entry.name)
    path = prefix + name
    try:
        status = entry.stat(follow_symlinks=False)
        mode = status.st_mode
        if stat.S_ISREG(mode):
            tree.found.append(_file(path, status, now))
        elif stat.S_ISLNK(mode):
            target = os.fsencode(os.readlink(entry.name, dir_fd=fd))
            tree.found.append(Found(path, "link", 0, None, 0, 0, target))
        elif stat.S_ISDIR(mode):
            below = os.open(entry.name, _FOLDER, dir_fd=fd)
            tree.found.append(Found(path, "folder", mode & 0o777, None, 0, 0, b""))
            return below
        else:
            tree.skipped.append(f"{os.fsdecode(path)}: a pipe, socket or device")
    except FileNotFoundError:
        pass  # removed meanwhile
    except OSError as error:
        tree.skipped.append(f"{os.fsdecode(path)}: {error.strerror}")
    return None


def _file(path: bytes, status: os.stat_result, now: int) -> Found:
    return Found(
        path,
        "file",
        stat.S_IMODE(status.st_mode) & 0o777,
        signature_of(status, now),
        status.st_size,
        status.st_mtime_ns,
        b"",
    )


def signature_of(status: os.stat_result, now: int) -> Signature | None:
    changed = status.st_ctime_ns
    slack = _TICK_NS if changed % 1_000_000_000 else _COARSE_NS
    if changed > now - slack:
        return None
    return Signature(status.st_size, status.st_mtime_ns, status.st_ino, changed)
