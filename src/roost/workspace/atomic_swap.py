"""Replace a folder by another one, as a whole or only its content. Follows no link in either."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Generator
from pathlib import Path

from roost.workspace import btrfs

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH: int | None = getattr(os, "O_PATH", None)


def swap(new: Path, folder: Path, old: Path) -> None:
    """Replace `folder` by `new` in one rename. The old folder is moved to `old` and removed."""
    remove_tree(old)
    with contextlib.suppress(FileNotFoundError):
        os.rename(folder, old)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.rename(new, folder)
    remove_tree(old)


def swap_inside(new: Path, folder: Path, old: Path) -> None:
    """Replace the content of `folder` by that of `new`; `folder` itself stays. Others may work in it: entries that they
    make meanwhile are removed too, if they are seen."""
    if not _is_folder(folder):
        swap(new, folder, old)
        return
    remove_tree(old)
    old.mkdir(mode=0o700, parents=True)
    with _opened(new) as fresh, _opened(folder) as here, _opened(old) as past:
        for name in os.listdir(here):
            with contextlib.suppress(FileNotFoundError):
                _move(name, here, past)
        for name in os.listdir(fresh):
            _put(name, fresh, here, past)
    remove_tree(new)
    remove_tree(old)


def _put(name: str, fresh: int, here: int, past: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.rename(name, f"{name}.again"[-255:], src_dir_fd=here, dst_dir_fd=past)
    _move(name, fresh, here)


def _move(name: str, source: int, target: int) -> None:
    """Move an entry. A move writes to a moved folder (its `..`), so its mode may have to be changed for a moment."""
    try:
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
    except PermissionError:
        fd = os.open(name, os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | (_PATH or os.O_RDONLY), dir_fd=source)
        try:
            mode = stat.S_IMODE(os.fstat(fd).st_mode)
            _chmod(fd, mode | 0o700)
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
            _chmod(fd, mode)
        finally:
            os.close(fd)


def _chmod(fd: int, mode: int) -> None:
    if _PATH is None:
        os.fchmod(fd, mode)
    else:  # an O_PATH descriptor can only be changed through its name
        os.chmod(f"/proc/self/fd/{fd}", mode)


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _opened(folder: Path) -> Generator[int]:
    """Open the folder, and make it readable and writable for its owner for good."""
    mode = stat.S_IMODE(os.lstat(folder).st_mode)
    if mode & 0o700 != 0o700:
        os.chmod(folder, mode | 0o700)
    fd = os.open(folder, _FOLDER)
    try:
        yield fd
    finally:
        os.close(fd)


def aside(folder: Path) -> tuple[Path, Path]:
    """Return the paths to build a new folder at and to move the old one to. They lie beside it, as a rename needs the
    same file system. No session's folder has a name that begins with a dot."""
    moving = folder.parent / ".moving"
    return moving / f"{folder.name}.new", moving / f"{folder.name}.old"


def remove_tree(folder: Path) -> None:
    """Remove a folder with its content, also folders that their owner may not write to. A missing one is fine."""
    for path, below, _ in os.walk(folder):
        if btrfs.is_subvolume(Path(path)):
            with contextlib.suppress(OSError):
                btrfs.destroy(Path(path))
                below.clear()
                continue
        with contextlib.suppress(OSError):
            os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)
