"""The writes of the SQLite journal. Each runs inside the writer's shared transaction and checks before it writes."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from typing import Literal, get_args

import msgspec

from roost.errors import Busy, Conflict, Fenced, NotFound, SequenceConflict
from roost.log.events import Event, Phase, SessionState, encode_event
from roost.log.inputs import Input, admits, encode_input, urgency
from roost.log.protocols import Accepted, Append, Change, InboxItem, NewSession, Record, SessionInfo
from roost.stores.sqlite import rows
from roost.stores.sqlite.append_effects import apply_further
from roost.stores.sqlite.commit_group import Group
from roost.stores.sqlite.inboxes import put

INBOX_LIMIT = 1000
"""Pending inputs of one session; more are refused with `Busy`."""
_ADMITS = " ".join(
    f"WHEN state = '{state}' AND phase = '{phase}' THEN {admits(state, phase)}"
    for state in get_args(SessionState)
    for phase in get_args(Phase)
)
HAS_WORK = (
    "(state = 'running' AND phase = 'working' OR pending > 0 AND EXISTS (SELECT 1 FROM inbox"
    f" WHERE inbox.s = sessions.s AND taken = 0 AND urgency >= CASE {_ADMITS} END))"
)
_FENCED = "WHERE s = ? AND epoch = ? AND head = ? AND owner IS NOT NULL"
_MOVE = f"UPDATE sessions SET head = ?, updated_at = ? {_FENCED}"
_TURN = (
    f"UPDATE sessions SET head = ?, updated_at = ?, state = coalesce(?, state), phase = coalesce(?, phase) {_FENCED}"
)
_encode_json = msgspec.json.Encoder().encode


def create(
    connection: sqlite3.Connection, group: Group, session: NewSession, events: Sequence[Event], key: str | None
) -> SessionInfo:
    if (made := former(connection, session.id, key)) is not None:
        return made
    s = insert(connection, session, key, len(events))
    add_first(group, s, session.id, 0, events)
    return rows.one(connection, "s", s)


def former(connection: sqlite3.Connection, session: str, key: str | None) -> SessionInfo | None:
    """Return the session that was created with this key, if any. Raises `Conflict` when the id is taken."""
    if key is not None:
        found = connection.execute("SELECT s FROM sessions WHERE create_key = ?", (key,)).fetchone()
        if found is not None:
            return rows.one(connection, "s", found[0])
    if connection.execute("SELECT 1 FROM sessions WHERE id = ?", (session,)).fetchone():
        raise Conflict(f"there is already a session {session!r}", code="session_exists")
    return None


def insert(connection: sqlite3.Connection, session: NewSession, key: str | None, head: int) -> int:
    """Insert the row of a new session. Returns its row number."""
    now = time.time()
    values = {
        "id": session.id,
        "create_key": key,
        "agent": session.agent,
        "version": session.version,
        "head": head,
        "created_at": now,
        "updated_at": now,
        "workspace": session.workspace,
        "title": session.title,
        "parent": session.parent,
        "labels": _encode_json(session.labels).decode(),
        "needs": _encode_json(session.needs).decode(),
    }
    cursor = connection.execute(
        f"INSERT INTO sessions ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})", tuple(values.values())
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def add_first(group: Group, s: int, session: str, head: int, events: Sequence[Event]) -> None:
    """Add the session's first own events, those after `head`."""
    bodies = [encode_event(event) for event in events]
    group.add_events(s, head, bodies)
    group.changes.append(Change(session, records(head, bodies)))


def append(connection: sqlite3.Connection, group: Group, write: Append) -> int:
    head = write.expected + len(write.bodies)
    s = _fence(connection, group, write)
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
    apply_further(connection, group, s, write)
    if write.release:
        let_go(connection, "s", s)
        group.numbers.pop(write.session, None)
    if write.bodies:
        group.changes.append(Change(write.session, records(write.expected, write.bodies)))
    return head


def accept(
    connection: sqlite3.Connection, group: Group, session: str, item: Input, key: str | None, digest: bytes | None
) -> Accepted:
    row = connection.execute("SELECT s, state, phase, pending, head FROM sessions WHERE id = ?", (session,)).fetchone()
    if row is None:
        raise NotFound(f"there is no session {session!r}")
    s, state, phase, pending, head = row
    body = encode_input(item)
    if key is not None:
        seen = connection.execute("SELECT id, digest FROM inbox WHERE s = ? AND key = ?", (s, key)).fetchone()
        if seen is not None:
            if seen[1] != digest:
                raise Conflict(f"the key {key!r} was used for another input", code="idempotency_mismatch")
            return Accepted(seen[0], True, head)
    if state in ("stopped", "error") and urgency(item) == 0:
        raise Conflict(f"session {session!r} is {state}; start it again first", code=f"session_{state}")
    if pending >= INBOX_LIMIT and urgency(item) == 0:
        raise Busy(f"session {session!r} has {pending} inputs waiting; try again when some are done", code="inbox_full")
    now = time.time()
    ready = urgency(item) >= admits(state, phase)
    place = put(connection, s, body, urgency(item), now, ready=ready, key=key, digest=digest)
    group.changes.append(Change(session, inbox=(InboxItem(place, item, now),)))
    return Accepted(place, False, head)


def let_go(connection: sqlite3.Connection, column: Literal["s", "owner"], value: object) -> None:
    """Clear the owner of these sessions, and compute anew whether they have work."""
    connection.execute(
        f"UPDATE sessions SET owner = NULL, ready = {HAS_WORK}, ready_at = ? WHERE {column} = ?", (time.time(), value)
    )


def _fence(connection: sqlite3.Connection, group: Group, write: Append) -> int | None:
    """Check everything that can refuse the append, and advance the head. Writes nothing when it raises. Returns None
    when the append is in the log already."""
    s = group.numbers.get(write.session)
    if s is None:
        s = group.numbers[write.session] = rows.number(connection, write.session)
    if write.consume and not _are_pending(connection, s, write.consume):
        return _refuse(connection, group, write)
    head, now = write.expected + len(write.bodies), time.time()
    if write.state is None and write.phase is None:  # the common case, at less cost
        moved = connection.execute(_MOVE, (head, now, s, write.epoch, write.expected))
    else:
        moved = connection.execute(_TURN, (head, now, write.state, write.phase, s, write.epoch, write.expected))
    return s if moved.rowcount else _refuse(connection, group, write)


def _are_pending(connection: sqlite3.Connection, s: int, items: Sequence[int]) -> bool:
    marks = ",".join("?" * len(items))
    (there,) = connection.execute(
        f"SELECT count(*) FROM inbox WHERE s = ? AND taken = 0 AND id IN ({marks})", (s, *items)
    ).fetchone()
    return there == len(items)


def _refuse(connection: sqlite3.Connection, group: Group, write: Append) -> None:
    """Raise the reason for the refusal, or return when the append is in the log already."""
    del group.numbers[write.session]
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


def records(head: int, bodies: Sequence[bytes]) -> list[Record]:
    """Make records for the events from `head + 1` on."""
    return [Record(seq, body) for seq, body in enumerate(bodies, head + 1)]
