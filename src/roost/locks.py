"""Locks by name between processes of one machine. The operating system releases a file lock when its process dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Generator
from pathlib import Path


class Locks:
    """A folder of files, each locked by the process that holds its name. One `Locks` is thread safe. No method waits
    for a lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}

    def hold(self, name: str) -> None:
        """Lock a name. Raises `OSError`; `BlockingIOError` when another process is about to lock it."""
        if name in self._held:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._folder / f".{name}"
        handle = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fresh.rename(self._folder / name)  # the file never exists unlocked
        except BaseException:
            os.close(handle)
            raise
        self._held[name] = handle

    def drop(self, name: str) -> None:
        handle = self._held.pop(name, None)
        if handle is not None:
            with contextlib.suppress(OSError):
                (self._folder / name).unlink()
            os.close(handle)

    def names(self) -> list[str]:
        """Return every name that is locked, or was locked when its process died."""
        with contextlib.suppress(FileNotFoundError):
            return [name for name in os.listdir(self._folder) if not name.startswith(".")]
        return []

    @contextlib.contextmanager
    def taking(self, name: str) -> Generator[bool, None, None]:
        """Yield whether the name is free. While True was yielded, no other process gets True; then the name is
        removed."""
        try:
            handle = os.open(self._folder / name, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            yield True
            return
        except OSError:  # such as no free file descriptor: no sign of death
            yield False
            return
        try:
            free = _lock(handle)
            yield free
            if free:
                with contextlib.suppress(OSError):
                    (self._folder / name).unlink()
        finally:
            os.close(handle)

    def is_free(self, name: str) -> bool:
        if name in self._held:
            return False
        with self.taking(name) as free:
            return free

    def close(self) -> None:
        for name in list(self._held):
            self.drop(name)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
