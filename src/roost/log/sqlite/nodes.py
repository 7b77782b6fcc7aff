"""Which nodes of this machine live: each holds a file lock that the kernel drops when its process dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path


class Nodes:
    """Lock files beside the database. Thread safe for one opener; `is_dead` never blocks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}

    def hold(self, node: str) -> None:
        if node in self._held:
            return
        self._folder.mkdir(exist_ok=True)
        handle = os.open(self._folder / node, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._held[node] = handle

    def drop(self, node: str) -> None:
        handle = self._held.pop(node, None)
        if handle is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._folder / node)
            os.close(handle)

    def is_dead(self, node: str, alive_until: float) -> bool:
        """`alive_until` is on this machine's monotonic clock, which steps of the wall clock do not move."""
        if node in self._held:
            return alive_until < time.monotonic()
        path = self._folder / node
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return alive_until < time.monotonic()
        else:
            with contextlib.suppress(OSError):
                os.unlink(path)
            return True
        finally:
            os.close(handle)

    def close(self) -> None:
        for node in list(self._held):
            self.drop(node)
