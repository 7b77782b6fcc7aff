"""Detect a database file that was deleted, replaced, or stripped of its write-ahead log.

SQLite does not detect this: it creates a new empty file at start, and a running process continues to write into a
deleted file.

The file `roost.db.state` beside `roost.db` holds the store's id, and whether a process has the database open. SQLite
removes the write-ahead log only at a clean end, so "open" without a log means that commits were lost.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path

import msgspec

from roost.errors import StoreLost

_LOOKS_APART = 2.0
"""Seconds between looks at the state file while the database is open."""


class _State(msgspec.Struct, frozen=True):
    """store: the store's id, empty until it has one. open: a process opened the database and has not closed it."""

    store: str
    open: bool


class Presence:
    """Watches one database file. Every method except `rescue` blocks for microseconds only. One thread calls them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = path.with_name(path.name + "-wal")
        self._file = path.with_name(path.name + ".state")
        self._files: tuple[tuple[int, int], tuple[int, int]] | None = None
        self._store = ""
        self._looked = 0.0
        self._lost: StoreLost | None = None

    def before_open(self) -> None:
        """Raise `StoreLost` when the files are not as the last process left them."""
        state = self._read()
        if state is None:
            return
        if not self._path.exists() or not self._path.stat().st_size:
            raise self._gone(f"the database {str(self._path)!r} is missing or empty")
        if self._log.exists() or not state.open:
            return
        state = self._read()  # another process may have ended cleanly between the two looks
        if state is not None and state.open:
            raise self._gone(
                f"{str(self._log)!r} is missing: it holds what was committed before the last daemon was killed, unless"
                " another program (such as sqlite3) has opened the database since, which moves it into the database"
            )

    def same_store(self, connection: sqlite3.Connection) -> None:
        """Raise `StoreLost` when this is not the store that the state file names. Call it before creating tables."""
        state = self._read()
        if state is not None and state.store and store_id(connection) != state.store:
            raise self._gone(f"the database {str(self._path)!r} was emptied, or is another one than before")

    def opened(self, connection: sqlite3.Connection) -> None:
        """Remember the files of the connection, which must have read or written before."""
        self._files = (_inode(self._path), _inode(self._log))
        self._mark(connection, open=True)

    def check(self, connection: sqlite3.Connection) -> None:
        """Raise `StoreLost` when the files are no longer those that were opened. Two `stat` calls: cheap enough for
        each commit."""
        self.still_there()
        if time.monotonic() - self._looked > _LOOKS_APART:
            state = self._read()
            if state is None or not state.open or not self._store:  # a process that ended wrote "closed"
                self._mark(connection, open=True)
            self._looked = time.monotonic()

    def still_there(self) -> None:
        """Like `check`, without a connection and from any thread: a new connection would create an empty file."""
        if self._lost is not None:
            raise self._lost
        try:
            same = (_inode(self._path), _inode(self._log)) == self._files
        except OSError:
            same = False
        if not same:
            raise StoreLost(f"the database {str(self._path)!r} was deleted or replaced while it was in use")

    def rescue(self, connection: sqlite3.Connection) -> StoreLost:
        """Save all committed data into a new file, once; a deleted file is readable as long as it is open. Returns the
        error for every later write."""
        if self._lost is None:
            self._lost = self._saved(connection)
        return self._lost

    def closing(self, connection: sqlite3.Connection) -> None:
        """Move the log into the database and mark it closed, while the log still exists."""
        with contextlib.suppress(sqlite3.Error):
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy and self._lost is None:
                self._mark(connection, open=False)

    def closed(self) -> None:
        """Mark the database closed, after the last connection of this process: SQLite has removed the log unless
        another process has it open."""
        if self._lost is None and self._files is not None and self._path.exists() and not self._log.exists():
            self._write(open=False)

    def _saved(self, connection: sqlite3.Connection) -> StoreLost:
        begun = f"the database {str(self._path)!r} was deleted or replaced while it was in use. Nothing is accepted"
        to = self._path.with_name(f"{self._path.name}.rescued-{time.strftime('%Y%m%dT%H%M%S')}")
        try:
            os.close(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            connection.execute("VACUUM INTO ?", (os.fspath(to),))
        except (OSError, sqlite3.Error) as error:
            with contextlib.suppress(OSError):
                to.unlink(missing_ok=True)
            return StoreLost(f"{begun}. What was committed could not be saved ({error}): restore a backup")
        self._mark(connection, open=False)
        return StoreLost(
            f"{begun}. What was committed is saved: stop the daemon, rename {str(to)!r} to {self._path.name!r}, "
            "and start it again"
        )

    def _gone(self, what: str) -> StoreLost:
        found = sorted(self._path.parent.glob(self._path.name + ".rescued-*"))
        last = f" (the last daemon saved {str(found[-1])!r})" if found else ""
        return StoreLost(
            f"{what}. Restore it from a backup{last}; when what is there now is to be used, remove "
            f"{str(self._file)!r} and start again"
        )

    def _read(self) -> _State | None:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=_State)
        except (OSError, msgspec.MsgspecError):
            return None

    def _mark(self, connection: sqlite3.Connection, *, open: bool) -> None:
        self._store = self._store or store_id(connection) or ""
        self._write(open=open)

    def _write(self, *, open: bool) -> None:
        draft = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        with contextlib.suppress(OSError):  # a full or read-only disk: the store reports it
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(_State(self._store, open)) + b"\n")
            draft.replace(self._file)


def store_id(connection: sqlite3.Connection) -> str | None:
    """Return the permanent id of the store; None in a file without our tables."""
    try:
        row = connection.execute("SELECT value FROM settings WHERE name = 'store_id'").fetchone()
    except sqlite3.OperationalError:
        return None
    return row[0] if row else None


def _inode(path: Path) -> tuple[int, int]:
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino
