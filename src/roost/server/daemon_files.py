"""A home's daemon files: the lock, the token, and the daemon's address."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

import msgspec

from roost.errors import ConfigError, StoreFailed
from roost.version import version

RUNNING = "is running already"
"""The text by which a start reports that another daemon was first."""


class DaemonInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `daemon.json`. `started_at`: seconds since 1970. `folder`: device and inode of the home, so that a
    copy of the home does not use the original's daemon."""

    url: str
    pid: int
    version: str
    started_at: float
    folder: tuple[int, int] | None = None


def folder_of(home: Path) -> tuple[int, int]:
    """Return the device and inode of a home. Raises `OSError`."""
    found = home.stat()
    return found.st_dev, found.st_ino


class Home:
    """The daemon's files in a home folder. All methods block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def lock(self) -> None:
        """Take the home's daemon lock until the process ends. Raises `ConfigError` when another daemon has it,
        `StoreFailed` when the home cannot be used."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.path / "daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreFailed(f"cannot use the home {str(self.path)!r}: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            found = self.daemon()
            where = f" at {found.url}, process {found.pid}" if found else ""
            raise ConfigError(
                f"a daemon of {str(self.path)!r} {RUNNING}{where}: use it, stop it, or set ROOST_HOME",
                code="already_running",
            ) from error
        self._lock = lock
        for half in (*self.path.glob("token.*"), *self.path.glob("daemon.json.*")):  # written when a kill came
            half.unlink(missing_ok=True)

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def token(self) -> str:
        """Return the home's token, creating it at the first call. Makes the file readable by its owner only, also one
        created by others. Raises `StoreFailed`, and `ConfigError` when the file holds something else."""
        path = self.path / "token"
        try:
            with contextlib.suppress(FileNotFoundError):
                if token := word(path.read_bytes(), path):
                    path.chmod(0o600)
                    return token
            import secrets

            token = secrets.token_urlsafe(32)
            _write(path, token.encode() + b"\n")
        except OSError as error:
            raise StoreFailed(f"cannot read or make the token {str(path)!r}: {error}") from error
        return token

    def keep_token(self, token: str) -> None:
        """Store a token as the home's. Raises `StoreFailed`."""
        path = self.path / "token"
        try:
            _write(path, token.encode() + b"\n")
        except OSError as error:
            raise StoreFailed(f"cannot keep the token in {str(path)!r}: {error}") from error

    def announce(self, url: str) -> None:
        """Write `daemon.json`. Raises `StoreFailed`."""
        path = self.path / "daemon.json"
        try:
            info = DaemonInfo(
                url=url, pid=os.getpid(), version=version(), started_at=time.time(), folder=folder_of(self.path)
            )
            _write(path, msgspec.json.encode(info) + b"\n")
        except OSError as error:
            raise StoreFailed(f"cannot say in {str(path)!r} where the daemon is: {error}") from error

    def retract(self) -> None:
        (self.path / "daemon.json").unlink(missing_ok=True)

    def daemon(self) -> DaemonInfo | None:
        """Return the last daemon of this very folder; after a crash it may no longer run."""
        try:
            info = msgspec.json.decode((self.path / "daemon.json").read_bytes(), type=DaemonInfo)
            return info if info.folder in (None, folder_of(self.path)) else None
        except (OSError, msgspec.MsgspecError):
            return None


def word(data: bytes, path: Path) -> str:
    """Return a file's token, which fits into a header; empty when there is none. Raises `ConfigError`."""
    text = data.strip().decode("ascii", "replace")
    if not (text.isascii() and text.isprintable()):
        raise ConfigError(f"the file {str(path)!r} holds no token: remove it, and the next `roost up` makes a new one")
    return text


def _write(path: Path, data: bytes) -> None:
    """Write a file atomically, readable by its owner only."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(fresh, path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
