"""One thread for numpy's matrix products.

On a machine that does something else too, threads that wait for one another make them several times slower (a hundred
long texts on two busy cores: 22 s against 8), and on an idle one they gain a fifth. Whole pieces of work side by side
gain more.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple


class Threads(NamedTuple):
    get: Callable[[], int]
    set: Callable[[int], Any]


_lock = threading.Lock()
_inside = 0
_before = 1


@contextlib.contextmanager
def one_thread() -> Generator[None]:
    """Give the matrix products of this process one thread each inside the block, and restore the number after it. Does
    nothing if numpy has no OpenBLAS of its own."""
    global _inside, _before
    if (count := threads()) is None:
        yield
        return
    with _lock:
        if not _inside:
            _before = count.get()
            count.set(1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                count.set(_before)


@functools.cache
def threads() -> Threads | None:
    """Return OpenBLAS's number of threads, for the whole process."""
    import numpy as np

    # Where its packages for Linux and macOS keep the library, and under which names: scipy-openblas.
    folder = Path(np.__file__).parent
    for path in [*folder.parent.glob("numpy.libs/*openblas*"), *folder.glob(".dylibs/*openblas*")]:
        for end in ("64_", ""):
            try:
                library = ctypes.CDLL(str(path))
                return Threads(
                    library[f"scipy_openblas_get_num_threads{end}"], library[f"scipy_openblas_set_num_threads{end}"]
                )
            except (OSError, AttributeError):
                continue
    return None
