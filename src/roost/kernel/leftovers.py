"""Commands that outlived their node: each node holds a lock file; whoever starts next finds those without a holder."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from pathlib import Path

from roost.sandbox.marks import reap_orphans

log = logging.getLogger("roost.leftovers")


class RunFile:
    """`home/run/NODE`, locked while the node's process lives. All methods block, briefly."""

    def __init__(self, home: Path, node: str) -> None:
        self._folder = home / "run"
        self._home = home
        self.marker = _marker(home, node)
        self._path = self._folder / node
        self._handle: int | None = None

    def hold(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._handle, fcntl.LOCK_EX)

    def drop(self) -> None:
        if self._handle is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._handle)
            self._handle = None

    def reap(self) -> int:
        """Kill what dead nodes of this home left running. Returns how many processes that were."""
        return sum(self._reap(path) for path in list(self._folder.iterdir()) if path != self._path)

    def _reap(self, path: Path) -> int:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return 0
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            killed = reap_orphans(_marker(self._home, path.name))
            with contextlib.suppress(OSError):
                path.unlink()
        except OSError:
            return 0  # its node lives, or another one is doing the same
        finally:
            os.close(handle)
        if killed:
            log.warning("killed %d processes that a crashed node had left running", killed)
        return killed


def _marker(home: Path, node: str) -> str:
    return f"{home.resolve()}:{node}"
