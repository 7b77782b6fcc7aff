"""Purge deleted sessions. Events are removed piece by piece; those that a fork shares stay until the fork is
deleted."""

from __future__ import annotations

import sqlite3

from roost.stores.sqlite.commit_group import Group

_NEEDED = "SELECT max(upto) FROM lineage WHERE base = garbage.s"
_PURGEABLE = (
    f"SELECT s FROM garbage WHERE ({_NEEDED}) IS NULL"
    f" OR EXISTS (SELECT 1 FROM events WHERE events.s = garbage.s AND seq > ({_NEEDED}))"
)


def garbage(connection: sqlite3.Connection) -> list[int]:
    """Return deleted sessions with more events in the file than forks need."""
    return [s for (s,) in connection.execute(_PURGEABLE)]


def purge(group: Group, s: int, count: int = 2000) -> int | None:
    """Remove up to `count` events of a deleted session that no fork needs. Returns the row number for the next call:
    this session, the deleted session that it was forked from, or None."""
    connection = group.connection
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
