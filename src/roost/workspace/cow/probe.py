"""Find the snapshot methods of a home's file system, by trying each."""

from __future__ import annotations

import contextlib
import errno
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from roost.sandbox.disk_reserve import DiskReserve
from roost.workspace import btrfs
from roost.workspace.copy_tree import clone
from roost.workspace.cow.portable import PortableSnapshots
from roost.workspace.cow.subvolumes import SubvolumeSnapshots
from roost.workspace.disk_room import Space
from roost.workspace.snapshots import Snapshots

_Attempt: TypeAlias = Callable[[Path, str], None]
_OVERLAY = "they are seen in one mount namespace only, where the daemon's own file tools are not"


class Means(NamedTuple):
    """Why each method does not work, None when it does. `clones`: of single files. `overlay`: why it is never used."""

    subvolumes: str | None
    clones: str | None
    overlay: str = _OVERLAY

    @property
    def name(self) -> str:
        return "btrfs subvolumes" if self.subvolumes is None else "portable"


def choose(workspaces: Path, *, memory: Path | None = None, floor: DiskReserve | None = None) -> Snapshots:
    """Return the snapshots for the session folders in `workspaces`, which need not exist. `memory`: the folder of their
    memories; remains of interrupted saves in it are removed. `floor`: disk reserve to respect. Blocks."""
    if _tried(workspaces, _subvolumes) is None:
        return SubvolumeSnapshots(space=Space(floor))
    made = PortableSnapshots(space=Space(floor))
    if memory is not None:
        made.recover(memory)
    return made


def probe(workspaces: Path) -> Means:
    """Try each method. Blocks for some milliseconds, and leaves nothing behind."""
    return Means(_tried(workspaces, _subvolumes), _tried(workspaces, _clones))


def _tried(workspaces: Path, attempt: _Attempt) -> str | None:
    folder = workspaces / ".probe"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            attempt(folder, secrets.token_hex(6))
        finally:
            with contextlib.suppress(OSError):
                folder.rmdir()
    except ImportError:
        return "not on this system"
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            return "the file system has none"
        if error.errno == errno.EPERM:
            return "only root may remove one here: mount the file system with user_subvol_rm_allowed"
        return error.strerror or str(error)
    return None


def _subvolumes(folder: Path, name: str) -> None:
    """Try subvolumes. If one cannot be destroyed at once, they are of no use: each removal would cost its size."""
    one, two = folder / name, folder / f"{name}.s"
    btrfs.create(one)
    try:
        btrfs.snapshot(one, two, read_only=True)
        btrfs.destroy(two)
    finally:
        for path in (one, two):
            with contextlib.suppress(OSError):
                path.rmdir()


def _clones(folder: Path, name: str) -> None:
    source, target = folder / name, folder / f"{name}.c"
    try:
        source.write_bytes(b"x" * 4096)
        with source.open("rb") as read, target.open("wb") as write:
            clone(read.fileno(), write.fileno())
    finally:
        for path in (source, target):
            path.unlink(missing_ok=True)
