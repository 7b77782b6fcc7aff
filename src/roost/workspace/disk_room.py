"""What saves and restores leave free on the home's disk: the log must go on, whatever is kept beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from threading import Lock

from roost.sandbox.disk_reserve import Floor, free_of
from roost.workspace.object_store import full

AT_ONCE = 16 * 1024**2
"""Bytes that are written at most after one look."""
_PLENTY = 8 * AT_ONCE
"""With so much more than the floor several may write at once; below it, one after the other."""


class Space:
    """Of one node; without a `floor` there is no end to it."""

    def __init__(self, floor: Floor | None = None) -> None:
        self._floor = floor
        self._lock = Lock()

    @contextlib.contextmanager
    def taking(self, size: int) -> Generator[None]:
        """Around writing so many bytes, or fewer. Blocks. Raises `ObjectsFailed` (`disk_full`) when that would leave
        less than the floor."""
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
