"""A file system of our own in a file, seen by this process and its children alone: however they end, nothing of it is
left, and what others did to the machine's own plays no part. (An ext4 without a journal needs some fifty times as long
to make a file for minutes after many were removed.)"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["btrfs", "ext4"]
_NEW_MOUNTS = 0x00020000
_BYTES = 6 * 10**9
"""At most; the file has holes."""


def lacking(kind: Kind) -> str | None:
    """Why there is none here; None when it can be tried."""
    if os.geteuid() != 0:
        return f"an {kind} of our own needs root" if kind == "ext4" else f"a {kind} of our own needs root"
    if shutil.which(f"mkfs.{kind}") is None:
        return f"there is no mkfs.{kind} (apt-get install {'btrfs-progs' if kind == 'btrfs' else 'e2fsprogs'})"
    return None


@contextlib.contextmanager
def mounted(folder: Path, kind: Kind) -> Iterator[Path]:
    """Raises `RuntimeError` with what this machine lacks."""
    if (why := lacking(kind)) is not None:
        raise RuntimeError(why)
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNTS):
        raise RuntimeError(f"no mounts of our own: {os.strerror(ctypes.get_errno())}")
    image, where = folder / "image", folder / "mount"
    where.mkdir()
    with image.open("wb") as file:
        file.truncate(_BYTES)
    _run("mount", "--make-rprivate", "/")
    _run(f"mkfs.{kind}", "-q", str(image))
    _run("mount", "-o", "loop", str(image), str(where))
    image.unlink()  # it lasts as long as the mount, and the mount no longer than this process
    try:
        yield where
    finally:
        _run("umount", str(where))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip() or done.returncode}")
