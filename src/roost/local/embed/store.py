"""Vectors kept in a SQLite file, which any number of processes may share."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path

from roost.local.embed.base import Vector

_SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL, used INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS vectors_used ON vectors (used);
"""
_WAIT = 2.0
"""Seconds for another process to be done with its write; after that this one goes without."""
_FRESH = 3_600
"""Seconds within which a further use is not written down."""
_SOME = 500
"""Keys in a query."""
_KEPT = 0.9
"""The share of the bound that stays when there is too much."""
_SUM = 4
"""Bytes of the checksum behind a vector."""

_log = logging.getLogger("roost.embed")


class VectorStore:
    """At most `megabytes` of vectors by their keys, the least recently used out first (to the hour).

    It raises nothing: a file that cannot be read or written, or whose disk is full, is as if it were empty, and one
    that is damaged is made anew. Blocks, for some seconds at most: call it in a thread; several may. `now` is the wall
    time in seconds.
    """

    def __init__(self, path: Path, megabytes: int = 256, *, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._bytes = megabytes * 1_000_000
        self._now = now
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._warned = False

    def get(self, keys: Iterable[bytes]) -> dict[bytes, Vector]:
        """Return the stored vectors of these keys."""
        wanted = list(keys)
        vectors: dict[bytes, Vector] = {}

        def look(db: sqlite3.Connection) -> None:
            now, old = int(self._now()), list[bytes]()
            for start in range(0, len(wanted), _SOME):
                some = wanted[start : start + _SOME]
                marks = ",".join("?" * len(some))
                rows = db.execute(f"SELECT key, vector, used FROM vectors WHERE key IN ({marks})", some)
                for key, kept, used in rows:
                    if (vector := _checked(kept)) is not None:
                        vectors[key] = vector
                        if now - used >= _FRESH:
                            old.append(key)
            if old:
                with _transaction(db):
                    db.executemany("UPDATE vectors SET used = ? WHERE key = ?", [(now, key) for key in old])

        self._do(look)
        return vectors

    def put(self, vectors: Mapping[bytes, Vector]) -> None:
        def write(db: sqlite3.Connection) -> None:
            now = int(self._now())
            rows = [(key, vector + _sum(vector), now) for key, vector in vectors.items()]
            with _transaction(db):
                db.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)
                self._trim(db)

        self._do(write)

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _do(self, work: Callable[[sqlite3.Connection], None]) -> None:
        with self._lock:
            try:
                try:
                    self._run(work)
                except sqlite3.DatabaseError as error:
                    # A locked, full or read-only file is an OperationalError; what is none of these is damage.
                    if isinstance(error, sqlite3.OperationalError):
                        raise
                    self._tell("is damaged and made anew", error)
                    self._remove()
                    self._run(work)
            except (sqlite3.Error, OSError) as error:
                self._drop()
                self._tell("cannot be used", error)

    def _run(self, work: Callable[[sqlite3.Connection], None]) -> None:
        if self._db is None:
            self._db = _opened(self._path)
        work(self._db)

    def _trim(self, db: sqlite3.Connection) -> None:
        """Pages that are freed are used again: the file stays as it is, and grows no more."""
        (page,) = db.execute("PRAGMA page_size").fetchone()
        while (used := _pages(db) * page) > self._bytes:
            (count,) = db.execute("SELECT count(*) FROM vectors").fetchone()
            if not count:
                return
            out = max(1, round(count * (1 - self._bytes * _KEPT / used)))
            db.execute("DELETE FROM vectors WHERE rowid IN (SELECT rowid FROM vectors ORDER BY used LIMIT ?)", (out,))

    def _remove(self) -> None:
        self._drop()
        for end in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + end).unlink(missing_ok=True)

    def _drop(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()

    def _tell(self, what: str, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            _log.warning("the cache of embeddings %s %s: %s", self._path, what, error)


def _opened(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A vector gives away much of its text.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    db = sqlite3.connect(path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        # What a power cut takes away is asked for again.
        db.execute("PRAGMA synchronous = NORMAL")
        db.executescript(_SCHEMA)
    except BaseException:
        db.close()
        raise
    return db


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Generator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _pages(db: sqlite3.Connection) -> int:
    (all_pages,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    return all_pages - free


def _sum(vector: Vector) -> bytes:
    return zlib.crc32(vector).to_bytes(_SUM, "little")


def _checked(kept: object) -> Vector | None:
    """None for what was not written here, or not as it is."""
    if not isinstance(kept, bytes) or kept[-_SUM:] != _sum(kept[:-_SUM]):
        return None
    return kept[:-_SUM]
