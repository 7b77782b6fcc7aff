"""Open a connection of the SQLite store and prepare its tables."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path

from roost.errors import StoreCorrupt, StoreFailed
from roost.log.store import Durability
from roost.stores.sqlite.migrations import VERSION, upgrade

_MINIMUM = (3, 35, 0)  # RETURNING


def failure(error: sqlite3.Error) -> StoreFailed:
    """Convert a SQLite error to ours, with what to do about it."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_FULL"):
        return StoreFailed("the disk is full: free some space, then try again", code="disk_full")
    if name.startswith("SQLITE_READONLY"):
        return StoreFailed("the database is read-only: check the file's and its folder's permissions", code="read_only")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StoreCorrupt(f"the database file is damaged ({error}): restore a backup, or see `roost store check`")
    return StoreFailed(f"the database failed: {error} ({name or type(error).__name__})")


def connect(path: Path, durability: Durability) -> sqlite3.Connection:
    """Open a connection for the calling thread, in WAL mode; a statement outside a transaction commits at once."""
    with contextlib.suppress(OSError):  # SQLite would create the file, and others like it, readable for all
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        connection.execute("PRAGMA busy_timeout = 10000")
        _use_wal(connection)
        connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'}")
    except BaseException:
        connection.close()
        raise
    return connection


def data_version(connection: sqlite3.Connection) -> int:
    """Return a number that changes when another connection commits."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode. SQLite's busy timeout does not cover this switch: processes that open a new file at the same
    time need a few tries."""
    for _ in range(200):
        try:
            if connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",):
                return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
        time.sleep(0.05)
    raise StoreFailed("the database is locked by another program: close what has it open", code="store_locked")


def prepare(connection: sqlite3.Connection) -> None:
    """Bring the tables up to date, all or nothing. Refuses a file that a newer version wrote."""
    if sqlite3.sqlite_version_info < _MINIMUM:
        raise StoreFailed(f"SQLite {sqlite3.sqlite_version} is too old: Roost needs 3.35 or newer")
    if not connection.execute("SELECT sqlite_compileoption_used('ENABLE_FTS5')").fetchone()[0]:
        raise StoreFailed("this Python's SQLite lacks FTS5, by which memory is searched: use a build that has it")
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StoreFailed(f"the database has layout {version}, this Roost knows {VERSION}: upgrade Roost")
        if version < VERSION:
            upgrade(connection, version)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
