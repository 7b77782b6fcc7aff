"""Dump a session's content from the file, and restore it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from roost.errors import Conflict
from roost.log.portable import SessionDump, StoredInput, StoredTimer
from roost.log.protocols import Change, Record
from roost.stores.sqlite import rows
from roost.stores.sqlite.append_effects import keep
from roost.stores.sqlite.commit_group import Group
from roost.stores.sqlite.session_logs import let_go

_encode = msgspec.json.Encoder().encode


def page(connection: sqlite3.Connection, after: int, count: int = 1000) -> list[tuple[int, str]]:
    """Return row numbers and ids of sessions, oldest first."""
    return connection.execute("SELECT s, id FROM sessions WHERE s > ? ORDER BY s LIMIT ?", (after, count)).fetchall()


def dump(connection: sqlite3.Connection, session: str) -> SessionDump:
    connection.execute("BEGIN")
    try:
        s = rows.number(connection, session)
        row = connection.execute("SELECT create_key, inputs FROM sessions WHERE s = ?", (s,)).fetchone()
        columns = "SELECT id, key, digest, accepted_at, taken, body FROM inbox WHERE s = ?"  # one partial index each
        inbox = connection.execute(
            f"{columns} AND taken = 0 UNION ALL {columns} AND key IS NOT NULL AND taken = 1", (s, s)
        ).fetchall()
        timers = connection.execute("SELECT id, due, body FROM timers WHERE s = ? ORDER BY id", (s,)).fetchall()
        return SessionDump(
            info=rows.one(connection, "s", s),
            create_key=row[0],
            inputs=row[1],
            inbox=tuple(
                StoredInput(id, key, digest, at, bool(taken), body)
                for id, key, digest, at, taken, body in sorted(inbox)
            ),
            timers=tuple(StoredTimer(*timer) for timer in timers),
            snapshot=rows.snapshot_row(connection, s),
            checkpoints=tuple(rows.checkpoint_rows(connection, s)),
        )
    finally:
        connection.execute("COMMIT")


def begin(connection: sqlite3.Connection, dump: SessionDump) -> tuple[int, int | None]:
    """Begin a restore. Returns the session's future row number, for adding events before the session exists, and the
    row number of an earlier interrupted restore, which is garbage now."""
    _refuse_taken(connection, dump)
    former = connection.execute("SELECT s FROM restores WHERE id = ?", (dump.info.id,)).fetchone()
    if former is not None:
        connection.execute("INSERT OR IGNORE INTO garbage VALUES (?)", former)
    cursor = connection.execute(
        "INSERT INTO sessions (id, agent, version, created_at, updated_at) VALUES (?, '', '', 0, 0)", (dump.info.id,)
    )
    s = cursor.lastrowid
    assert s is not None
    connection.execute("DELETE FROM sessions WHERE s = ?", (s,))  # numbers are never reused
    connection.execute("INSERT OR REPLACE INTO restores VALUES (?, ?)", (dump.info.id, s))
    return s, None if former is None else former[0]


def add(connection: sqlite3.Connection, group: Group, s: int, session: str, records: Sequence[Record]) -> None:
    _refuse_replaced(connection, s, session)
    group.add_events(s, records[0].seq - 1, [record.body for record in records])


def finish(connection: sqlite3.Connection, group: Group, s: int, dump: SessionDump) -> None:
    """Turn the added content into the session."""
    info = dump.info
    _refuse_taken(connection, dump)
    _refuse_replaced(connection, s, info.id)
    connection.execute("DELETE FROM restores WHERE id = ?", (info.id,))
    values = {
        **{name: getattr(info, name) for name in rows.PLAIN_COLUMNS},
        "s": s,
        "create_key": dump.create_key,
        "labels": _encode(info.labels).decode(),
        "needs": _encode(info.needs).decode(),
        "pending": sum(not item.taken for item in dump.inbox),
        "inputs": dump.inputs,
    }
    connection.execute(
        f"INSERT INTO sessions ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})", tuple(values.values())
    )
    connection.executemany(
        "INSERT INTO inbox (s, id, key, digest, accepted_at, taken, body, urgency) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(s, *item, item.urgency) for item in dump.inbox],
    )
    connection.executemany("INSERT INTO timers VALUES (?, ?, ?, ?)", [(s, *timer) for timer in dump.timers])
    if dump.snapshot is not None:
        connection.execute("INSERT INTO snapshots VALUES (?, ?, ?, ?)", (s, *dump.snapshot))
    for checkpoint in dump.checkpoints:
        keep(connection, s, checkpoint)
    let_go(connection, "s", s)
    group.changes.append(Change(info.id, None, None))


def _refuse_taken(connection: sqlite3.Connection, dump: SessionDump) -> None:
    if connection.execute("SELECT 1 FROM sessions WHERE id = ?", (dump.info.id,)).fetchone():
        raise Conflict(f"there is already a session {dump.info.id!r}", code="session_exists")
    if connection.execute("SELECT 1 FROM sessions WHERE create_key = ?", (dump.create_key,)).fetchone():
        raise Conflict(f"there is already a session with the key {dump.create_key!r}", code="session_exists")


def _refuse_replaced(connection: sqlite3.Connection, s: int, session: str) -> None:
    if not connection.execute("SELECT 1 FROM restores WHERE id = ? AND s = ?", (session, s)).fetchone():
        raise Conflict(f"session {session!r} is being restored by somebody else", code="session_exists")
