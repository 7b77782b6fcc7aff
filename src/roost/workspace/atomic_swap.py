"""A folder takes another's place, as a whole or by what is in it. Nothing that is in either is followed."""

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
    """`new` becomes `folder`, in one step. `old` is where its predecessor goes to be removed."""
    remove_tree(old)
    with contextlib.suppress(FileNotFoundError):
        os.rename(folder, old)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.rename(new, folder)
    remove_tree(old)


def swap_inside(new: Path, folder: Path, old: Path) -> None:
    """What is in `new` takes the place of what is in `folder`, which stays the folder that it is. Somebody may work in
    it: what they make meanwhile goes too, if it is seen."""
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
    """A folder that changes its parent is written to, so its mode may stand in the way."""
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
    else:  # what was opened to be named only can be changed by that name
        os.chmod(f"/proc/self/fd/{fd}", mode)


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _opened(folder: Path) -> Generator[int]:
    """Readable and writable for its owner from then on."""
    mode = stat.S_IMODE(os.lstat(folder).st_mode)
    if mode & 0o700 != 0o700:
        os.chmod(folder, mode | 0o700)
    fd = os.open(folder, _FOLDER)
    try:
        yield fd
    finally:
        os.close(fd)


def aside(folder: Path) -> tuple[Path, Path]:
    """Where a folder is built, and where its predecessor goes: beside it, for one file system renames no folder into
    another. No session's folder has a name that begins with a dot."""
    moving = folder.parent / ".moving"
    return moving / f"{folder.name}.new", moving / f"{folder.name}.old"


def remove_tree(folder: Path) -> None:
    """With everything in it, also folders that their owner may not write to. What is not there is gone already."""
    for path, below, _ in os.walk(folder):
        if btrfs.is_subvolume(Path(path)):
            with contextlib.suppress(OSError):
                btrfs.destroy(Path(path))
                below.clear()
                continue
        with contextlib.suppress(OSError):
            os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)
