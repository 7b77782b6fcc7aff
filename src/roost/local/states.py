"""Files of evaluated prompt prefixes: one for each prefix, engine and weights, shared by processes.

A file is what llama.cpp wrote, followed by its SHA-256: llama.cpp ends its process over a damaged file. Files are
replaced at once, so that a reader or a kill sees a whole file or none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path

_FILES = 8
_BYTES = 512 * 1024 * 1024
_ABANDONED = 3600.0
"""Seconds after which a draft is one that a kill left behind."""
_REMEMBERED = 7 * 86_400.0
"""Seconds for which a rejection holds."""
_DIGEST = hashlib.sha256().digest_size
_BLOCK = 1 << 20


class States:
    """The folder of states. Its methods raise nothing: a state that cannot be kept is evaluated again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: str) -> Path:
        return self._folder / f"{name}.state"

    def sound(self, name: str) -> bool:
        """Return whether a complete state exists. Removes a damaged one."""
        path = self.path(name)
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size - _DIGEST
                whole = size > 0 and _hash(file.fileno(), size) == os.read(file.fileno(), _DIGEST)
            if whole:
                os.utime(path)
                return True
            path.unlink()
        except OSError:
            pass
        return False

    def draft(self, name: str) -> str:
        """Return the file name under which llama.cpp saves the state."""
        return f"{name}.{os.getpid()}.draft"

    def keep(self, name: str) -> None:
        """Make the draft the state, and evict the states that were used longest ago."""
        draft = self._folder / self.draft(name)
        try:
            with draft.open("r+b") as file:
                size = os.fstat(file.fileno()).st_size
                digest = _hash(file.fileno(), size)
                file.seek(size)
                file.write(digest)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path(name))
            self._evict()
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink()

    def size(self, name: str) -> int:
        try:
            return self.path(name).stat().st_size
        except OSError:
            return 0

    def reject(self, name: str) -> None:
        """Record that llama.cpp does not use this state, and free its space."""
        with contextlib.suppress(OSError):
            self._mark(name).touch()
            self.path(name).unlink(missing_ok=True)

    def rejected(self, name: str) -> bool:
        return self._mark(name).exists()

    def drop(self, name: str) -> None:
        with contextlib.suppress(OSError):
            self.path(name).unlink(missing_ok=True)

    def _mark(self, name: str) -> Path:
        return self._folder / f"{name}.unused"

    def _evict(self) -> None:
        now = time.time()
        kept: list[tuple[float, int, Path]] = []
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                stat = path.stat()
                if path.suffix == ".state":
                    kept.append((stat.st_mtime, stat.st_size, path))
                elif now - stat.st_mtime > (_ABANDONED if path.suffix == ".draft" else _REMEMBERED):
                    path.unlink()
        total = 0
        for number, (_, size, path) in enumerate(sorted(kept, reverse=True)):
            total += size
            if number >= _FILES or (number and total > _BYTES):
                with contextlib.suppress(OSError):
                    path.unlink()


def _hash(descriptor: int, size: int) -> bytes:
    """The SHA-256 of the first `size` bytes; the descriptor stands behind them then."""
    digest = hashlib.sha256()
    while size and (block := os.read(descriptor, min(size, _BLOCK))):
        digest.update(block)
        size -= len(block)
    return digest.digest()
