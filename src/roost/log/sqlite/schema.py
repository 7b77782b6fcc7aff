"""Tables of the SQLite journal and the way a connection is opened."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path

from roost.errors import StoreCorrupt, StoreFailed
from roost.log.store import Durability

VERSION = 1
_MINIMUM = (3, 35, 0)  # RETURNING
_TABLES = """
CREATE TABLE sessions (
    s INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    create_key TEXT UNIQUE,
    agent TEXT NOT NULL,
    version TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'created',
    phase TEXT NOT NULL DEFAULT 'idle',
    head INTEGER NOT NULL DEFAULT 0,
    epoch INTEGER NOT NULL DEFAULT 0,
    owner TEXT,
    ready INTEGER NOT NULL DEFAULT 0,
    pending INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    workspace TEXT,
    title TEXT,
    parent TEXT,
    labels TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX sessions_ready ON sessions (s) WHERE ready = 1 AND owner IS NULL;
CREATE INDEX sessions_owner ON sessions (owner) WHERE owner IS NOT NULL;
CREATE TABLE events (id INTEGER PRIMARY KEY, s INTEGER NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL);
CREATE UNIQUE INDEX events_position ON events (s, seq);
CREATE TABLE inbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    s INTEGER NOT NULL,
    key TEXT,
    digest BLOB,
    urgency INTEGER NOT NULL,
    accepted_at REAL NOT NULL,
    taken INTEGER NOT NULL DEFAULT 0,
    body BLOB NOT NULL
);
CREATE INDEX inbox_pending ON inbox (s, id) WHERE taken = 0;
CREATE UNIQUE INDEX inbox_key ON inbox (s, key) WHERE key IS NOT NULL;
CREATE TABLE timers (
    s INTEGER NOT NULL, id TEXT NOT NULL, due REAL NOT NULL, body BLOB NOT NULL, PRIMARY KEY (s, id)
) WITHOUT ROWID;
CREATE INDEX timers_due ON timers (due);
CREATE TABLE snapshots (s INTEGER PRIMARY KEY, seq INTEGER NOT NULL, version INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE nodes (id TEXT PRIMARY KEY, alive_until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE garbage (s INTEGER PRIMARY KEY);
"""


def failure(error: sqlite3.Error) -> StoreFailed:
    """The store's error as ours, with what to do about it."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_FULL"):
        return StoreFailed("the disk is full: free some space, then try again", code="disk_full")
    if name.startswith("SQLITE_READONLY"):
        return StoreFailed("the database is read-only: check the file's and its folder's permissions", code="read_only")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StoreCorrupt(f"the database file is damaged ({error}): restore a backup, or run `roost doctor --store`")
    return StoreFailed(f"the database failed: {error} ({name or type(error).__name__})")


def connect(path: Path, durability: Durability) -> sqlite3.Connection:
    """A connection for the thread that calls, in WAL mode, statements outside transactions committing at once."""
    with contextlib.suppress(OSError):  # SQLite makes it for all to read, and its other files like it
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
    """Another number whenever another connection than this one has committed."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _use_wal(connection: sqlite3.Connection) -> None:
    """SQLite's busy timeout does not cover this switch: processes that open a new file together need a few tries."""
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
    """Create the tables in a new file; refuse one that a newer version wrote."""
    if sqlite3.sqlite_version_info < _MINIMUM:
        raise StoreFailed(f"SQLite {sqlite3.sqlite_version} is too old: Roost needs 3.35 or newer")
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StoreFailed(f"the database has layout {version}, this Roost knows {VERSION}: upgrade Roost")
        if version == 0:
            for statement in _TABLES.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
