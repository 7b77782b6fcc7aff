"""Make a folder's content equal to another's, in place: only differences are touched, and files share their blocks
where the file system can."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from roost.workspace.copy_tree import ANY, copy
from roost.workspace.disk_room import Space
from roost.workspace.scan import Found, Tree, scan
from roost.workspace.stable_read import Reader

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def mirror(source: Path, folder: Path, *, files: int, space: Space = ANY) -> None:
    """Make `folder` equal to `source`.

    No other process may write to `source`; others may write to `folder`, and no link that they make is followed. A file
    with an equal signature counts as the same (a snapshot keeps signatures). Raises `OSError`, `TooLarge` above `files`
    files, and `ObjectsFailed` when `space` is used up."""
    want, have = scan(source, files=files), scan(folder, files=files)
    os.chmod(folder, 0o700)
    reader, origin = Reader(folder), Reader(source)
    try:
        _open_up(reader, have)
        left = _remove(reader, want, have)
        for one in want.found:
            if one.path not in left:
                _make(origin, reader, one, space)
        for one in reversed(want.found):
            if one.kind == "folder":
                os.fchmod(reader.folder(one.path + b"/."), one.mode)
    finally:
        reader.close()
        origin.close()


def _open_up(reader: Reader, have: Tree) -> None:
    for one in have.found:
        if one.kind == "folder" and one.mode & 0o700 != 0o700:
            os.fchmod(reader.folder(one.path + b"/."), 0o700)


def _remove(reader: Reader, want: Tree, have: Tree) -> set[bytes]:
    """Remove entries that differ or are not wanted. Returns the paths of those that stay."""
    wanted = {one.path: one for one in want.found}
    left: set[bytes] = set()
    gone = b"\0"
    for one in have.found:
        if one.path.startswith(gone):
            continue
        if _same(one, wanted.get(one.path)):
            left.add(one.path)
            continue
        parent, name = reader.folder(one.path), one.path.rpartition(b"/")[2]
        if one.kind == "folder":
            shutil.rmtree(os.fsdecode(name), dir_fd=parent)
            gone = one.path + b"/"
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent)
    return left


def _same(here: Found, there: Found | None) -> bool:
    if there is None or here.kind != there.kind:
        return False
    if here.kind == "folder":
        return True
    if here.kind == "link":
        return here.target == there.target
    return here.signature is not None and here.signature == there.signature and here.mode == there.mode


def _make(origin: Reader, reader: Reader, one: Found, space: Space) -> None:
    parent, name = reader.folder(one.path), one.path.rpartition(b"/")[2]
    if one.kind == "folder":
        os.mkdir(name, 0o700, dir_fd=parent)
        return
    if one.kind == "link":
        os.symlink(one.target, name, dir_fd=parent)
        return
    source = os.open(name, _READ, dir_fd=origin.folder(one.path))
    try:
        target = os.open(name, _NEW, 0o600, dir_fd=parent)
        try:
            copy(source, target, one.size, space)
            os.utime(target, ns=(one.mtime_ns, one.mtime_ns))
            os.fchmod(target, one.mode)
        finally:
            os.close(target)
    finally:
        os.close(source)
