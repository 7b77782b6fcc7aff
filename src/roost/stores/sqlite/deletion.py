"""Delete sessions. A session's events are removed piece by piece; events that a fork shares stay until the fork is
deleted."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from roost.errors import Conflict, NotFound
from roost.log.protocols import Change
from roost.stores.sqlite.commit_group import Group
from roost.stores.sqlite.fact_store import forget_session

_NEEDED = "SELECT max(upto) FROM lineage WHERE base = garbage.s"
_PURGEABLE = (
    f"SELECT s FROM garbage WHERE ({_NEEDED}) IS NULL"
    f" OR EXISTS (SELECT 1 FROM events WHERE events.s = garbage.s AND seq > ({_NEEDED}))"
)


def delete(
    connection: sqlite3.Connection, group: Group, session: str, epoch: int | None, is_dead: Callable[[str], bool]
) -> int:
    """Hide the session at once; `purge` removes its events piece by piece. Returns its row number."""
    row = connection.execute("SELECT s, owner, epoch FROM sessions WHERE id = ?", (session,)).fetchone()
    if row is None:
        raise NotFound(f"there is no session {session!r}")
    s, owner, held = row
    if owner is not None and epoch != held and not is_dead(owner):
        raise Conflict(f"session {session!r} is in use: stop it first", code="session_busy")
    connection.execute("INSERT OR IGNORE INTO garbage VALUES (?)", (s,))
    for table in ("sessions", "timers", "snapshots", "checkpoints"):
        connection.execute(f"DELETE FROM {table} WHERE s = ?", (s,))
    for part in ("taken = 0", "key IS NOT NULL"):  # one partial index each
        connection.execute(f"DELETE FROM inbox WHERE s = ? AND {part}", (s,))
    forget_session(connection, session)
    group.numbers.pop(session, None)
    group.changes.append(Change(session, None))
    return s


def garbage(connection: sqlite3.Connection) -> list[int]:
    """Return deleted sessions with more events in the file than forks need."""
    return [s for (s,) in connection.execute(_PURGEABLE)]


def purge(connection: sqlite3.Connection, group: Group, s: int, count: int = 2000) -> int | None:
    """Remove up to `count` events of a deleted session that no fork needs. Returns the row number for the next call:
    this session, the deleted session that it was forked from, or None."""
    (needed,) = connection.execute("SELECT max(upto) FROM lineage WHERE base = ?", (s,)).fetchone()
    cursor = connection.execute(
        "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE s = ? AND seq > ? LIMIT ?)",
        (s, needed or 0, count),
    )
    if cursor.rowcount == count:
        return s
    if needed is not None:
        return None
    connection.execute("DELETE FROM garbage WHERE s = ?", (s,))
    base = connection.execute("SELECT base FROM lineage JOIN garbage ON garbage.s = base WHERE lineage.s = ?", (s,))
    found = base.fetchone()
    connection.execute("DELETE FROM lineage WHERE s = ?", (s,))
    return None if found is None else found[0]
