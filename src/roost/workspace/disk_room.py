"""Keep the disk reserve during saves and restores: the log must be able to go on."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from threading import Lock

from roost.sandbox.disk_reserve import DiskReserve, free_of
from roost.workspace.object_store import full

AT_ONCE = 16 * 1024**2
"""Most bytes that are written after one look at the disk."""
_PLENTY = 8 * AT_ONCE
"""With so much above the floor several threads may write at once; below it, one at a time."""


class Space:
    """The disk space of one node; unlimited without a `floor`."""

    def __init__(self, floor: DiskReserve | None = None) -> None:
        self._floor = floor
        self._lock = Lock()

    @contextlib.contextmanager
    def taking(self, size: int) -> Generator[None]:
        """Wrap a write of at most `size` bytes. Blocks. Raises `ObjectsFailed` (`disk_full`) when it would go below
        the floor."""
        if self._room() >= size + _PLENTY:
            yield
            return
        with self._lock:
            if self._room() < size:
                raise full("its last room is left for the log (free_bytes)")
            yield

    def _room(self) -> float:
        free = free_of(self._floor.folder) if self._floor is not None else None
        return float("inf") if self._floor is None or free is None else self._floor.room(free)
