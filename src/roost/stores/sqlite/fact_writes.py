"""Write facts, in the transaction of the change that makes them. Each write checks before it writes."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

from roost.errors import Conflict
from roost.log.fact_rows import COLUMNS, LATE, Origin, StoredFact, about_of, no_session, session_of, words_of
from roost.log.facts import EndFact, FactChange, FactWrite, MemoryRevert, NewFact, PutFact

CURRENT = "ended_version IS NULL"
_INDEXED = f"{CURRENT} AND proposed = 0"
_UNINDEX = "INSERT INTO fact_words (fact_words, rowid, place, words)"


def apply_facts(connection: sqlite3.Connection, session: str, before: int, writes: Sequence[FactWrite]) -> None:
    """Write the fact changes of an append whose first event is `before + 1`."""
    now = time.time()
    for event, change in writes:
        apply(connection, change, Origin(f"session:{session}", now, session, before + event))


def clear_space(connection: sqlite3.Connection, space: str) -> None:
    for (n,) in connection.execute("SELECT n FROM spaces WHERE name = ?", (space,)).fetchall():
        connection.execute(f"{_UNINDEX} SELECT 'delete', f, place, words FROM facts WHERE n = ? AND {_INDEXED}", (n,))
        connection.execute("DELETE FROM facts WHERE n = ?", (n,))
        connection.execute("DELETE FROM spaces WHERE n = ?", (n,))


def insert(connection: sqlite3.Connection, n: int, row: StoredFact) -> None:
    indexed = (f"s{n}", words_of(row.text, row.key))
    cursor = connection.execute(
        f"INSERT INTO facts (n, place, words, {COLUMNS}) VALUES (?, ?, ?, {marks(StoredFact._fields)})",
        (n, *indexed, *row),
    )
    if row.ended_version is None and not row.proposed:
        connection.execute(
            "INSERT INTO fact_words (rowid, place, words) VALUES (?, ?, ?)", (cursor.lastrowid, *indexed)
        )


def apply(connection: sqlite3.Connection, change: FactChange, origin: Origin) -> int:
    match change:
        case PutFact():
            return _put(connection, change.fact, origin)
        case EndFact():
            return _end_where(connection, "id = ?", (change.id,), origin)
        case MemoryRevert():
            return _revert(connection, change, origin)


def _put(connection: sqlite3.Connection, fact: NewFact, origin: Origin) -> int:
    if connection.execute("SELECT 1 FROM facts WHERE id = ? LIMIT 1", (fact.id,)).fetchone():
        return 0
    of = session_of(fact.space)
    if of is not None and not connection.execute("SELECT 1 FROM sessions WHERE id = ?", (of,)).fetchone():
        if origin.session is None:
            raise no_session(of)
        return 0
    late = not fact.proposed and any(_is_late(connection, former, fact.key) for former in fact.supersedes)
    if late and origin.session is None:
        raise Conflict(LATE, code="fact_ended")
    connection.execute("INSERT OR IGNORE INTO spaces (name) VALUES (?)", (fact.space,))
    (n,) = connection.execute("SELECT n FROM spaces WHERE name = ?", (fact.space,)).fetchone()
    told = _is_told(connection, n, fact)
    gone = 0 if late else _give_way(connection, n, fact, origin, told=told)
    about, at = about_of(fact, origin), origin.at
    made = (fact.id, fact.key, fact.category, fact.text, about, fact.proposed, at)
    by = (origin.session, origin.seq)
    if not (late or told):
        version = _bump(connection, n, 0 if fact.proposed else 1)
        insert(connection, n, StoredFact(*made, None, version, None, version, *by, None, None))
        return gone + 1
    if origin.session is not None:
        version, ended = _bump(connection, n, 0), _bump(connection, n, 0)
        insert(connection, n, StoredFact(*made, at, version, ended, ended, *by, *by))
    return gone


def _is_late(connection: sqlite3.Connection, former: str, key: str | None) -> bool:
    """Whether the superseded fact has ended without a successor that shares its key."""
    sql = "SELECT ended_version, proposed, key FROM facts WHERE id = ? ORDER BY ended_version IS NOT NULL LIMIT 1"
    row = connection.execute(sql, (former,)).fetchone()
    return row is not None and row[0] is not None and bool(row[1] or key is None or row[2] != key)


_SAYING = f"n = ? AND substr(text, 1, 64) = substr(?, 1, 64) AND +text = ? AND category = ? AND {CURRENT}"
"""Matches facts with the same text. The plus stops SQLite from substituting the value, which would hide the index."""


def _is_told(connection: sqlite3.Connection, n: int, fact: NewFact) -> bool:
    where = f"{_SAYING} AND (? IS NULL OR key = ?) AND proposed <= ? AND id NOT IN ({marks(fact.supersedes)})"
    values = (n, fact.text, fact.text, fact.category, fact.key, fact.key, fact.proposed, *fact.supersedes)
    return connection.execute(f"SELECT 1 FROM facts WHERE {where} LIMIT 1", values).fetchone() is not None


def _give_way(connection: sqlite3.Connection, n: int, fact: NewFact, origin: Origin, *, told: bool) -> int:
    """End the facts that this one replaces. This happens even if the fact itself is a duplicate (`told`)."""
    gone = 0
    for former in fact.supersedes:
        gone += _end_where(connection, "id = ? AND proposed >= ?", (former, fact.proposed), origin)
    if fact.key is not None and not told:
        gone += _end_where(connection, f"n = ? AND key = ? AND proposed = {fact.proposed:d}", (n, fact.key), origin)
    if not fact.proposed:
        same = (n, fact.text, fact.text, fact.category, fact.key)
        gone += _end_where(connection, f"{_SAYING} AND key IS ? AND proposed = 1", same, origin)
    return gone


def _end_where(connection: sqlite3.Connection, where: str, values: tuple[object, ...], origin: Origin) -> int:
    columns = "f, n, proposed, place, words"
    rows = connection.execute(f"SELECT {columns} FROM facts WHERE {where} AND {CURRENT}", values).fetchall()
    for f, n, proposed, *indexed in rows:
        if not proposed:
            connection.execute(f"{_UNINDEX} VALUES ('delete', ?, ?, ?)", (f, *indexed))
        version = _bump(connection, n, 0 if proposed else -1)
        connection.execute(
            "UPDATE facts SET ended = ?, ended_version = ?, changed = ?, ended_session = ?, ended_seq = ? WHERE f = ?",
            (origin.at, version, version, origin.session, origin.seq, f),
        )
    return len(rows)


def _revert(connection: sqlite3.Connection, change: MemoryRevert, origin: Origin) -> int:
    session = change.session or origin.session
    until = change.until if change.until is not None else (origin.seq or 1 << 62) - 1
    span = (session, change.since, until)
    back = connection.execute(
        f"SELECT n, {COLUMNS} FROM facts WHERE ended_session = ?1 AND ended_seq > ?2 AND ended_seq <= ?3"
        " AND NOT (session IS ?1 AND seq > ?2 AND seq <= ?3) ORDER BY f DESC",
        span,
    ).fetchall()
    changed = _end_where(connection, "session = ? AND seq > ? AND seq <= ?", span, origin)
    seen: set[str] = set()
    for n, *values in back:
        row = StoredFact(*values)
        if row.id not in seen and _is_free(connection, n, row):
            seen.add(row.id)
            version = _bump(connection, n, 0 if row.proposed else 1)
            insert(connection, n, _again(row, version, origin))
            changed += 1
    return changed


def _is_free(connection: sqlite3.Connection, n: int, row: StoredFact) -> bool:
    """Whether the fact is still ended and its key unused."""
    sql = f"SELECT 1 FROM facts WHERE {CURRENT} AND (id = ? OR n = ? AND key = ? AND proposed = 0)"
    return connection.execute(sql, (row.id, n, row.key)).fetchone() is None


def _again(row: StoredFact, version: int, origin: Origin) -> StoredFact:
    return row._replace(
        ended=None,
        version=version,
        ended_version=None,
        changed=version,
        session=origin.session,
        seq=origin.seq,
        ended_session=None,
        ended_seq=None,
    )


def _bump(connection: sqlite3.Connection, n: int, more: int) -> int:
    ((version,),) = connection.execute(
        "UPDATE spaces SET version = version + 1, facts = facts + ? WHERE n = ? RETURNING version", (more, n)
    )
    return version


def marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
