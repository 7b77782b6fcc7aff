"""Convert rows of the SQLite store to the protocol's types."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from roost.errors import NotFound
from roost.log.inputs import decode_input
from roost.log.protocols import READ_BYTES, Checkpoint, CheckpointRow, InboxItem, Record, Snapshot
from roost.log.session_info import SessionInfo
from roost.stores.session_rows import INFO_COLUMNS, session_info

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
"""Columns of a session stored exactly as in its `SessionInfo`."""
_EVENTS = "SELECT seq, body FROM events WHERE s = ? AND seq > ? ORDER BY seq LIMIT ?"
_SNAPSHOT = """
SELECT * FROM (
    SELECT seq, version, body FROM snapshots WHERE s = ?1 AND seq <= ?2
    UNION ALL SELECT * FROM (
        SELECT seq, version, body FROM checkpoints WHERE s = ?1 AND seq <= ?2 ORDER BY seq DESC LIMIT 1)
) ORDER BY seq DESC LIMIT 1"""
_END = 2**62
_PARTS = f"""
WITH RECURSIVE part(s, upto) AS (
    SELECT ?1, {_END}
    UNION ALL SELECT lineage.base, lineage.upto FROM part JOIN lineage ON lineage.s = part.s WHERE lineage.upto > ?2
) SELECT s, upto FROM part"""
"""Lists the logs that have the events after ?2, each with its last position: the session's own, then its base's, and so
on."""
_needs: msgspec.json.Decoder[tuple[str, ...]] = msgspec.json.Decoder(tuple[str, ...])


def info(row: tuple[Any, ...]) -> SessionInfo:
    """Make a `SessionInfo` from a row of `INFO_COLUMNS`."""
    return session_info(row, _needs.decode(row[15]))


def one(connection: sqlite3.Connection, column: Literal["s", "id"], value: object) -> SessionInfo:
    """Return one session's index row. Raises `NotFound`."""
    row = connection.execute(f"SELECT {INFO_COLUMNS} FROM sessions WHERE {column} = ?", (value,)).fetchone()
    if row is None:
        raise NotFound(f"there is no session {value!r}")
    return info(row)


def number(connection: sqlite3.Connection, session: str) -> int:
    """Return the row number of a session. Raises `NotFound`."""
    row = connection.execute("SELECT s FROM sessions WHERE id = ?", (session,)).fetchone()
    if row is None:
        raise NotFound(f"there is no session {session!r}")
    return int(row[0])


def log(connection: sqlite3.Connection, s: int, after: int, limit: int) -> list[Record]:
    """Return the records of session `s`, including those that it shares as a fork."""
    (shared,) = connection.execute("SELECT shared FROM sessions WHERE s = ?", (s,)).fetchone()
    return [Record(seq, bytes(body)) for seq, body in _events(connection, s, shared, after, limit)]


def page(connection: sqlite3.Connection, session: str, after: int, limit: int) -> list[Record]:
    """Like `log`, ending early after `READ_BYTES`. Raises `NotFound`."""
    row = connection.execute("SELECT s, shared FROM sessions WHERE id = ?", (session,)).fetchone()
    if row is None:
        raise NotFound(f"there is no session {session!r}")
    s, shared = row
    found: list[Record] = []
    size = 0
    for seq, body in _events(connection, s, shared, after, limit):
        found.append(Record(seq, bytes(body)))
        size += len(body)
        if size >= READ_BYTES:
            break
    return found


def _events(connection: sqlite3.Connection, s: int, shared: int, after: int, limit: int) -> Iterable[tuple[int, bytes]]:
    return connection.execute(_EVENTS, (s, after, limit)) if after >= shared else _joined(connection, s, after, limit)


def _joined(connection: sqlite3.Connection, s: int, after: int, limit: int) -> Iterator[tuple[int, bytes]]:
    """Yield a fork's events: the shared ones, then its own."""
    for one, upto in reversed(connection.execute(_PARTS, (s, after)).fetchall()):
        if limit <= 0:
            return
        count = min(limit, upto - after)
        yield from connection.execute(_EVENTS, (one, after, count))
        after, limit = upto, limit - count


def snapshot(connection: sqlite3.Connection, s: int, at: int | None) -> Snapshot | None:
    """Return the newest snapshot up to `at`. A log's own snapshots are never older than those of the logs that it
    starts with, so the search stops at the first log that has one."""
    at = _END if at is None else at
    for one, upto in connection.execute(_PARTS, (s, 0)):
        row = connection.execute(_SNAPSHOT, (one, min(upto, at))).fetchone()
        if row is not None:
            return Snapshot(row[0], row[1], bytes(row[2]))
    return None


def snapshot_row(connection: sqlite3.Connection, s: int) -> Snapshot | None:
    """Return the state snapshot from which the session wakes."""
    row = connection.execute("SELECT seq, version, body FROM snapshots WHERE s = ?", (s,)).fetchone()
    return None if row is None else Snapshot(row[0], row[1], bytes(row[2]))


def checkpoints(connection: sqlite3.Connection, s: int) -> list[Checkpoint]:
    found = connection.execute(
        "SELECT seq, label, made_at, cause, files, memory FROM checkpoints WHERE s = ? ORDER BY seq DESC", (s,)
    )
    return [Checkpoint(*row) for row in found]


def checkpoint_rows(connection: sqlite3.Connection, s: int) -> list[CheckpointRow]:
    """Return checkpoints with their bodies, oldest first."""
    found = connection.execute(
        "SELECT seq, label, made_at, cause, files, memory, version, body FROM checkpoints WHERE s = ? ORDER BY seq",
        (s,),
    )
    return [
        CheckpointRow(seq, label, made_at, cause, files, memory, Snapshot(seq, version, bytes(body)))
        for seq, label, made_at, cause, files, memory, version, body in found
    ]


def inbox(connection: sqlite3.Connection, s: int) -> list[InboxItem]:
    rows = connection.execute("SELECT id, body, accepted_at FROM inbox WHERE s = ? AND taken = 0 ORDER BY id", (s,))
    return [InboxItem(row, decode_input(body), at) for row, body, at in rows]


def records(head: int, bodies: Sequence[bytes]) -> list[Record]:
    """Make records for the events from `head + 1` on."""
    return [Record(seq, body) for seq, body in enumerate(bodies, head + 1)]
