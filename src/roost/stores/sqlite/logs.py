"""Logs and snapshots in the SQLite store."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

from roost.errors import Fenced, NotFound, SequenceConflict
from roost.log.inputs import encode_input
from roost.log.protocols import Append, Change, Checkpoint, Record, Snapshot
from roost.stores.sqlite import rows
from roost.stores.sqlite.append_effects import apply_further
from roost.stores.sqlite.commit_group import Group
from roost.stores.sqlite.database import Part, reads
from roost.stores.sqlite.work import let_go

_FENCED = "WHERE s = ? AND epoch = ? AND head = ? AND owner IS NOT NULL"
_MOVE = f"UPDATE sessions SET head = ?, updated_at = ? {_FENCED}"
_TURN = (
    f"UPDATE sessions SET head = ?, updated_at = ?, state = coalesce(?, state), phase = coalesce(?, phase) {_FENCED}"
)


class SqliteLogs(Part):
    async def append(self, append: Append) -> int:
        return await self.database.write(lambda group: _append(group, append))

    @reads
    def read(self, connection: sqlite3.Connection, session: str, *, after: int = 0, limit: int = 1000) -> list[Record]:
        return rows.page(connection, session, after, limit)

    @reads
    def snapshot(self, connection: sqlite3.Connection, session: str, *, at: int | None = None) -> Snapshot | None:
        return rows.snapshot(connection, rows.number(connection, session), at)

    @reads
    def checkpoints(self, connection: sqlite3.Connection, session: str) -> list[Checkpoint]:
        return rows.checkpoints(connection, rows.number(connection, session))


def _append(group: Group, write: Append) -> int:
    connection = group.connection
    head = write.expected + len(write.bodies)
    s = _fence(group, write)
    if s is None:
        return head
    group.add_events(s, write.expected, write.bodies)
    if write.consume:
        _consume(connection, s, write.consume)
    if write.snapshot is not None:
        connection.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?)", (s, *write.snapshot))
    for timer in write.timers:
        connection.execute(
            "INSERT OR REPLACE INTO timers VALUES (?, ?, ?, ?)", (s, timer.id, timer.due, encode_input(timer.input))
        )
    for name in write.clear_timers:
        connection.execute("DELETE FROM timers WHERE s = ? AND id = ?", (s, name))
    apply_further(group, s, write)
    if write.release:
        let_go(connection, "s", s)
        group.numbers.pop(write.session, None)
    if write.bodies:
        group.changes.append(Change(write.session, rows.records(write.expected, write.bodies)))
    return head


def _fence(group: Group, write: Append) -> int | None:
    """Check everything that can refuse the append, and advance the head. Writes nothing when it raises. Returns None
    when the append is in the log already."""
    connection = group.connection
    s = group.numbers.get(write.session)
    if s is None:
        s = group.numbers[write.session] = rows.number(connection, write.session)
    if write.consume and not _are_pending(connection, s, write.consume):
        return _refuse(group, write)
    head, now = write.expected + len(write.bodies), time.time()
    if write.state is None and write.phase is None:  # the common case, at less cost
        moved = connection.execute(_MOVE, (head, now, s, write.epoch, write.expected))
    else:
        moved = connection.execute(_TURN, (head, now, write.state, write.phase, s, write.epoch, write.expected))
    return s if moved.rowcount else _refuse(group, write)


def _are_pending(connection: sqlite3.Connection, s: int, items: Sequence[int]) -> bool:
    marks = ",".join("?" * len(items))
    (there,) = connection.execute(
        f"SELECT count(*) FROM inbox WHERE s = ? AND taken = 0 AND id IN ({marks})", (s, *items)
    ).fetchone()
    return there == len(items)


def _refuse(group: Group, write: Append) -> None:
    """Raise the reason for the refusal, or return when the append is in the log already."""
    del group.numbers[write.session]
    connection = group.connection
    row = connection.execute("SELECT s, epoch, head, owner FROM sessions WHERE id = ?", (write.session,)).fetchone()
    if row is None:
        raise NotFound(f"there is no session {write.session!r}")
    s, epoch, head, owner = row
    if epoch == write.epoch and write.bodies and head >= write.expected + len(write.bodies):
        group.store_events()
        there = rows.log(connection, s, write.expected, len(write.bodies))
        if [record.body for record in there] == list(write.bodies):
            return
    if epoch != write.epoch or owner is None:
        raise Fenced(f"session {write.session!r} is at epoch {epoch}; the writer holds {write.epoch}")
    if head != write.expected:
        raise SequenceConflict(f"session {write.session!r} is at {head}; the writer expected {write.expected}")
    raise SequenceConflict(f"inputs {list(write.consume)} of {write.session!r} are not pending any more")


def _consume(connection: sqlite3.Connection, s: int, items: Sequence[int]) -> None:
    for item in items:
        connection.execute("DELETE FROM inbox WHERE s = ? AND id = ? AND taken = 0 AND key IS NULL", (s, item))
        connection.execute("UPDATE inbox SET taken = 1, body = x'' WHERE s = ? AND id = ? AND taken = 0", (s, item))
    connection.execute("UPDATE sessions SET pending = pending - ? WHERE s = ?", (len(items), s))
