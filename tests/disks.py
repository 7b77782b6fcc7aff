"""Disks of a size of their own, for tests of what happens when one is full."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def disk_of(size: str) -> Iterator[Path]:
    """A folder that is one, by the options of a tmpfs. Skips the test where this user may mount nothing."""
    folder = Path(tempfile.mkdtemp(prefix="roost-disk-"))
    try:
        mount = ["mount", "-t", "tmpfs", "-o", size, "none", str(folder)]
        done = subprocess.run(mount, check=False, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            pytest.skip(f"this user may mount nothing: {done.stderr.strip()}")
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, stderr=subprocess.DEVNULL)
        folder.rmdir()
