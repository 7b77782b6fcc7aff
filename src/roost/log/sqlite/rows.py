"""Rows of the SQLite journal as the protocol's types."""

from __future__ import annotations

import sqlite3
from typing import Any, Literal

import msgspec

from roost.errors import NotFound
from roost.log.inputs import decode_input
from roost.log.journal import READ_BYTES, InboxItem, Record, SessionInfo, SessionQuery, Snapshot
from roost.log.rows import INFO_COLUMNS as INFO_COLUMNS
from roost.log.rows import session_info

PLAIN_COLUMNS = (
    "id",
    "agent",
    "version",
    "state",
    "phase",
    "head",
    "created_at",
    "updated_at",
    "workspace",
    "title",
    "parent",
    "epoch",
    "home",
    "format",
)
"""Those of a session that are stored as they are in its `SessionInfo`."""
_needs: msgspec.json.Decoder[tuple[str, ...]] = msgspec.json.Decoder(tuple[str, ...])


def info(row: tuple[Any, ...]) -> SessionInfo:
    """From a row of `INFO_COLUMNS`."""
    return session_info(row, _needs.decode(row[15]))


def one(connection: sqlite3.Connection, column: Literal["s", "id"], value: object) -> SessionInfo:
    """Raises `NotFound`."""
    row = connection.execute(f"SELECT {INFO_COLUMNS} FROM sessions WHERE {column} = ?", (value,)).fetchone()
    if row is None:
        raise NotFound(f"there is no session {value!r}")
    return info(row)


def number(connection: sqlite3.Connection, session: str) -> int:
    """The row number of a session. Raises `NotFound`."""
    row = connection.execute("SELECT s FROM sessions WHERE id = ?", (session,)).fetchone()
    if row is None:
        raise NotFound(f"there is no session {session!r}")
    return int(row[0])


def records(connection: sqlite3.Connection, s: int, after: int, limit: int) -> list[Record]:
    rows = connection.execute(
        "SELECT seq, body FROM events WHERE s = ? AND seq > ? ORDER BY seq LIMIT ?", (s, after, limit)
    )
    return [Record(seq, bytes(body)) for seq, body in rows]


def page(connection: sqlite3.Connection, s: int, after: int, limit: int) -> list[Record]:
    """As `records`, ending early after `READ_BYTES`."""
    found: list[Record] = []
    size = 0
    cursor = connection.execute(
        "SELECT seq, body FROM events WHERE s = ? AND seq > ? ORDER BY seq LIMIT ?", (s, after, limit)
    )
    for seq, body in cursor:
        found.append(Record(seq, bytes(body)))
        size += len(body)
        if size >= READ_BYTES:
            break
    return found


def snapshot(connection: sqlite3.Connection, s: int) -> Snapshot | None:
    row = connection.execute("SELECT seq, version, body FROM snapshots WHERE s = ?", (s,)).fetchone()
    return None if row is None else Snapshot(row[0], row[1], bytes(row[2]))


def inbox(connection: sqlite3.Connection, s: int) -> list[InboxItem]:
    rows = connection.execute("SELECT id, body, accepted_at FROM inbox WHERE s = ? AND taken = 0 ORDER BY id", (s,))
    return [InboxItem(row, decode_input(body), at) for row, body, at in rows]


def find(query: SessionQuery) -> tuple[str, list[Any]]:
    """The statement and its values for a query."""
    where: list[str] = []
    values: list[Any] = []
    for column in ("agent", "state", "parent", "owner"):
        value = getattr(query, column)
        if value is not None:
            where.append(f"{column} = ?")
            values.append(value)
    if query.label is not None:
        where.append("EXISTS (SELECT 1 FROM json_each(labels) WHERE key = ? AND value = ?)")
        values.extend(query.label)
    if query.ids is not None:
        where.append(f"id IN ({','.join('?' * len(query.ids))})")
        values.extend(query.ids)
    if query.before is not None:
        where.append("s < (SELECT s FROM sessions WHERE id = ?)")
        values.append(query.before)
    condition = f" WHERE {' AND '.join(where)}" if where else ""
    values.append(query.limit)
    return f"SELECT {INFO_COLUMNS} FROM sessions{condition} ORDER BY s DESC LIMIT ?", values
