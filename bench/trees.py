"""Trees of files, the same everywhere, and what a step on them costs."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from bench.worker import whole_cpu

CHANGED = 10
"""Files that are rewritten between two snapshots."""
_PER_FOLDER = 100
_SETTLE = 0.05
"""Seconds, longer than a tick of the clock that stamps files."""


def make(folder: Path, files: int, size: int) -> None:
    """`files` files of `size` bytes together, which cannot be compressed, in folders of a hundred."""
    for number in range(files):
        path = _path(folder, number)
        if number % _PER_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(os.urandom(size // files))


def change(folder: Path, files: int, size: int, generation: int) -> dict[Path, bytes]:
    """Rewrite some, far from each other. Returns what they hold now, which is not on the disk yet."""
    chance = random.Random(generation)
    numbers = chance.sample(range(files), min(CHANGED, files))
    written = {_path(folder, number): chance.randbytes(size // files) for number in numbers}
    for path, data in written.items():
        path.write_bytes(data)
    time.sleep(_SETTLE)
    return written


def _path(folder: Path, number: int) -> Path:
    return folder / f"folder{number // _PER_FOLDER}" / f"file{number}"


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Milliseconds: wall, and CPU of this process and of those that it started and saw end."""
    before, began = whole_cpu(), time.perf_counter()
    work()
    return {"wall": (time.perf_counter() - began) * 1e3, "cpu": (whole_cpu() - before) * 1e3}


def free(folder: Path) -> float:
    """MB that its file system has left, when all is written to it."""
    os.sync()
    found = os.statvfs(folder)
    return found.f_bfree * found.f_bsize / 1e6
