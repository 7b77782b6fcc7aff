"""Inspect a SQLite file without a journal: see `roost.stores.admin`."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from roost.errors import StoreFailed
from roost.stores.document_rows import UNINDEXED, UNINDEXED_DETAIL, UNINDEXED_FIX
from roost.stores.findings import Fault, Layout
from roost.stores.sqlite.migrations import VERSION
from roost.stores.sqlite.schema import failure
from roost.stores.sqlite.work import HAS_WORK

_TICK = 1_000_000
_MOST = 100
"""Limit of reported pages and rows, as a damaged file may have any number."""
_DAMAGED = (
    "stop the daemon, keep a copy of the file, and restore a backup; `sqlite3 roost.db .recover` saves what it can"
)
_NOT_READY = f"""
SELECT id, ready, {HAS_WORK} FROM sessions WHERE owner IS NULL AND ready != {HAS_WORK} LIMIT {_MOST}
"""


def layout(path: Path) -> Layout:
    """Return the layout of the file. Raises `StoreFailed`."""
    if not path.exists():
        return Layout(0, VERSION, _steps(0))
    with _reading(path) as connection:
        (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > VERSION:
        raise StoreFailed(f"the database has layout {found}, this Roost knows {VERSION}: upgrade Roost")
    return Layout(found, VERSION, _steps(found))


def faults(path: Path, tick: Callable[[], None]) -> list[Fault]:
    """Return the file's faults. Raises `StoreFailed` when the file cannot be opened."""

    def on_progress() -> int:
        tick()
        return 0

    with _reading(path) as connection:
        connection.set_progress_handler(on_progress, _TICK)
        connection.execute("BEGIN")
        pages = list(_pages(connection))
        return pages or [*_strays(connection), *_restores(connection), *_ready(connection), *_documents(connection)]


def _pages(connection: sqlite3.Connection) -> Iterator[Fault]:
    try:
        for (said,) in connection.execute(f"PRAGMA quick_check({_MOST})"):
            if said != "ok":
                yield Fault("page", str(said), fix=_DAMAGED)
    except sqlite3.DatabaseError as error:
        yield Fault("page", str(error), fix=_DAMAGED)


def _strays(connection: sqlite3.Connection) -> Iterator[Fault]:
    """Yield rows of sessions that do not exist. Rows of a deletion or copy in progress are expected."""
    known = "SELECT s FROM sessions UNION SELECT s FROM garbage UNION SELECT s FROM restores"
    for table in ("events", "inbox", "timers", "snapshots", "checkpoints", "lineage"):
        numbers = connection.execute(f"WITH RECURSIVE known(s) AS ({known}) {_DISTINCT.format(table=table)}").fetchall()
        for (s,) in numbers:
            fix = "harmless but for the room that it takes"
            yield Fault("orphan", f"{table} of a session that is not there, number {s}", fix=fix)


_DISTINCT = f"""
, one(s) AS (
    SELECT min(s) FROM {{table}} UNION ALL SELECT (SELECT min(s) FROM {{table}} WHERE s > one.s) FROM one
    WHERE one.s IS NOT NULL
) SELECT s FROM one WHERE s IS NOT NULL AND s NOT IN known LIMIT {_MOST}
"""
"""Steps from number to number through the index; DISTINCT would visit every row."""


def _restores(connection: sqlite3.Connection) -> Iterator[Fault]:
    for (session,) in connection.execute("SELECT id FROM restores"):
        yield Fault("unfinished", "a copy into this store was cut off", session, "copy again; it only takes room")


def _ready(connection: sqlite3.Connection) -> Iterator[Fault]:
    for session, ready, work in connection.execute(_NOT_READY):
        detail = f"it is marked {'ready' if ready else 'not ready'}, and has {'work' if work else 'no work'}"
        yield Fault("ready", detail, session, "any input to it sets this right")


def _documents(connection: sqlite3.Connection) -> Iterator[Fault]:
    for kind, id in connection.execute(UNINDEXED):
        yield Fault("document", UNINDEXED_DETAIL.format(kind=kind, id=id), fix=UNINDEXED_FIX)


def _steps(found: int) -> tuple[str, ...]:
    return tuple(f"layout {number}" for number in range(found + 1, VERSION + 1))


@contextlib.contextmanager
def _reading(path: Path) -> Generator[sqlite3.Connection, None, None]:
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10.0)
        ) as found:
            yield found
    except sqlite3.Error as error:
        raise failure(error) from error
