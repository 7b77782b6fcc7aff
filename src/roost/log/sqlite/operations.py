"""The writes of the SQLite journal. Each runs inside the writer's shared transaction and checks before it writes."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from roost.errors import Busy, Conflict, Fenced, NotFound, SequenceConflict
from roost.log.events import Event, encode_event
from roost.log.inputs import Input, admits, decode_input, encode_input, urgency
from roost.log.journal import Accepted, Append, Change, Claim, InboxItem, NewSession, Record, SessionInfo
from roost.log.sqlite import rows
from roost.log.sqlite.group import Group

INBOX_LIMIT = 1000
"""Pending inputs of one session; more are refused with `Busy`."""
_TAIL_LIMIT = 1_000_000
_READY = "FROM sessions WHERE ready = 1 AND owner IS NULL ORDER BY s LIMIT ?"
_encode_json = msgspec.json.Encoder().encode


def create(
    connection: sqlite3.Connection, group: Group, session: NewSession, events: Sequence[Event], key: str | None
) -> SessionInfo:
    if key is not None:
        found = connection.execute(f"SELECT {rows.INFO_COLUMNS} FROM sessions WHERE create_key = ?", (key,)).fetchone()
        if found is not None:
            return rows.info(found)
    if connection.execute("SELECT 1 FROM sessions WHERE id = ?", (session.id,)).fetchone():
        raise Conflict(f"there is already a session {session.id!r}", code="session_exists")
    now = time.time()
    cursor = connection.execute(
        "INSERT INTO sessions (id, create_key, agent, version, head, created_at, updated_at, workspace, title, parent,"
        " labels) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            session.id,
            key,
            session.agent,
            session.version,
            len(events),
            now,
            now,
            session.workspace,
            session.title,
            session.parent,
            _encode_json(session.labels).decode(),
        ),
    )
    assert cursor.lastrowid is not None
    bodies = [encode_event(event) for event in events]
    group.add_events(cursor.lastrowid, 0, bodies)
    group.changes.append(Change(session.id, _records(0, bodies)))
    return _info(connection, cursor.lastrowid)


def append(connection: sqlite3.Connection, group: Group, write: Append) -> int:
    s = _fence(connection, group, write)
    head = write.expected + len(write.bodies)
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
    if write.release:
        connection.execute("UPDATE sessions SET owner = NULL WHERE s = ?", (s,))
        refresh_ready(connection, s)
        group.numbers.pop(write.session, None)
    if write.bodies:
        group.changes.append(Change(write.session, _records(write.expected, write.bodies)))
    return head


def accept(connection: sqlite3.Connection, group: Group, session: str, item: Input, key: str | None) -> Accepted:
    row = connection.execute("SELECT s, state, phase, pending FROM sessions WHERE id = ?", (session,)).fetchone()
    if row is None:
        raise NotFound(f"there is no session {session!r}")
    s, state, phase, pending = row
    body = encode_input(item)
    digest = hashlib.blake2b(body, digest_size=8).digest() if key is not None else None
    if key is not None:
        seen = connection.execute("SELECT id, digest FROM inbox WHERE s = ? AND key = ?", (s, key)).fetchone()
        if seen is not None:
            if seen[1] != digest:
                raise Conflict(f"the key {key!r} was used for another input", code="idempotency_mismatch")
            return Accepted(seen[0], True)
    if state in ("stopped", "error") and urgency(item) == 0:
        raise Conflict(f"session {session!r} is {state}; start it again first", code=f"session_{state}")
    if pending >= INBOX_LIMIT and urgency(item) == 0:
        raise Busy(f"session {session!r} has {pending} inputs waiting; try again when some are done", code="inbox_full")
    now = time.time()
    cursor = connection.execute(
        "INSERT INTO inbox (s, key, digest, urgency, accepted_at, body) VALUES (?, ?, ?, ?, ?, ?)",
        (s, key, digest, urgency(item), now, body),
    )
    ready = urgency(item) >= admits(state, phase)
    connection.execute(
        "UPDATE sessions SET pending = pending + 1, ready = max(ready, ?), updated_at = ? WHERE s = ?", (ready, now, s)
    )
    assert cursor.lastrowid is not None
    group.changes.append(Change(session, inbox=(InboxItem(cursor.lastrowid, item, now),)))
    return Accepted(cursor.lastrowid, False)


def claim(
    connection: sqlite3.Connection,
    group: Group,
    node: str,
    session: str | None,
    limit: int,
    is_dead: Callable[[str, float], bool],
) -> list[Claim]:
    if session is None:
        _bury(connection, node, is_dead)
        found = connection.execute(f"SELECT s {_READY}", (limit,)).fetchall()
    else:
        found = _claimable(connection, node, session, is_dead)
    group.store_events()
    return [_take(connection, node, s) for (s,) in found]


def ready(
    connection: sqlite3.Connection, group: Group, node: str, limit: int, is_dead: Callable[[str, float], bool]
) -> list[str]:
    """The sessions that have work and no living owner."""
    _bury(connection, node, is_dead)
    return [name for (name,) in connection.execute(f"SELECT id {_READY}", (limit,))]


def set_aside(connection: sqlite3.Connection, group: Group, session: str) -> None:
    """For a session whose rows are damaged: its log cannot say so, the index does."""
    connection.execute(
        "UPDATE sessions SET state = 'error', phase = 'idle', owner = NULL, ready = 0 WHERE id = ?", (session,)
    )


def fire(connection: sqlite3.Connection, group: Group, now: float, limit: int) -> float | None:
    due = connection.execute(
        "SELECT t.s, t.id, t.body, n.id, n.state, n.phase FROM timers t JOIN sessions n ON n.s = t.s"
        " WHERE t.due <= ? ORDER BY t.due LIMIT ?",
        (now, limit),
    ).fetchall()
    for s, timer, body, session, state, phase in due:
        item = decode_input(body)
        level = urgency(item)
        at = time.time()
        connection.execute("DELETE FROM timers WHERE s = ? AND id = ?", (s, timer))
        cursor = connection.execute(
            "INSERT INTO inbox (s, urgency, accepted_at, body) VALUES (?, ?, ?, ?)", (s, level, at, body)
        )
        assert cursor.lastrowid is not None
        connection.execute(
            "UPDATE sessions SET pending = pending + 1, ready = max(ready, ?) WHERE s = ?",
            (level >= admits(state, phase), s),
        )
        group.changes.append(Change(session, inbox=(InboxItem(cursor.lastrowid, item, at),)))
    (following,) = connection.execute("SELECT min(due) FROM timers").fetchone()
    return following


def beat(connection: sqlite3.Connection, group: Group, node: str, until: float) -> None:
    connection.execute("INSERT OR REPLACE INTO nodes VALUES (?, ?)", (node, until))


def leave(connection: sqlite3.Connection, group: Group, node: str) -> None:
    owned = connection.execute("SELECT s FROM sessions WHERE owner = ?", (node,)).fetchall()
    connection.execute("UPDATE sessions SET owner = NULL WHERE owner = ?", (node,))
    for (s,) in owned:
        refresh_ready(connection, s)
    connection.execute("DELETE FROM nodes WHERE id = ?", (node,))


def delete(
    connection: sqlite3.Connection,
    group: Group,
    session: str,
    epoch: int | None,
    is_dead: Callable[[str, float], bool],
) -> int:
    """Hide the session at once; `purge` removes its events piece by piece. Returns its number."""
    row = connection.execute("SELECT s, owner, epoch FROM sessions WHERE id = ?", (session,)).fetchone()
    if row is None:
        raise NotFound(f"there is no session {session!r}")
    s, owner, held = row
    if owner is not None and epoch != held and not _owner_is_dead(connection, owner, is_dead):
        raise Conflict(f"session {session!r} is in use: stop it first", code="session_busy")
    connection.execute("INSERT OR IGNORE INTO garbage VALUES (?)", (s,))
    for table in ("sessions", "inbox", "timers", "snapshots"):
        connection.execute(f"DELETE FROM {table} WHERE s = ?", (s,))
    group.numbers.pop(session, None)
    group.changes.append(Change(session, None))
    return s


def purge(connection: sqlite3.Connection, group: Group, s: int, count: int = 2000) -> bool:
    """Remove up to `count` events of a deleted session. True when all are gone."""
    cursor = connection.execute(
        "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE s = ? LIMIT ?)", (s, count)
    )
    if cursor.rowcount == count:
        return False
    connection.execute("DELETE FROM garbage WHERE s = ?", (s,))
    return True


def refresh_ready(connection: sqlite3.Connection, s: int) -> None:
    """Work it out anew whether a session without owner has something to do."""
    state, phase, pending = connection.execute(
        "SELECT state, phase, pending FROM sessions WHERE s = ?", (s,)
    ).fetchone()
    ready = state == "running" and phase == "working"
    if not ready and pending:
        ready = bool(
            connection.execute(
                "SELECT 1 FROM inbox WHERE s = ? AND taken = 0 AND urgency >= ? LIMIT 1", (s, admits(state, phase))
            ).fetchone()
        )
    connection.execute("UPDATE sessions SET ready = ? WHERE s = ?", (ready, s))


def _fence(connection: sqlite3.Connection, group: Group, write: Append) -> int:
    """Check everything that can refuse the append, and move the head. Nothing is written when it raises."""
    if write.consume:
        marks = ",".join("?" * len(write.consume))
        (there,) = connection.execute(
            f"SELECT count(*) FROM inbox i JOIN sessions n ON n.s = i.s"
            f" WHERE n.id = ? AND i.taken = 0 AND i.id IN ({marks})",
            (write.session, *write.consume),
        ).fetchone()
        if there != len(write.consume):
            raise SequenceConflict(f"inputs {list(write.consume)} of {write.session!r} are not pending any more")
    s = group.numbers.get(write.session)
    if s is None:
        s = group.numbers[write.session] = rows.number(connection, write.session)
    moved = connection.execute(
        "UPDATE sessions SET head = head + ?, updated_at = ?, state = coalesce(?, state), phase = coalesce(?, phase)"
        " WHERE s = ? AND epoch = ? AND head = ? AND owner IS NOT NULL",
        (len(write.bodies), time.time(), write.state, write.phase, s, write.epoch, write.expected),
    )
    if moved.rowcount:
        return s
    del group.numbers[write.session]
    now = connection.execute("SELECT epoch, head, owner FROM sessions WHERE id = ?", (write.session,)).fetchone()
    if now is None:
        raise NotFound(f"there is no session {write.session!r}")
    epoch, head, owner = now
    if epoch != write.epoch or owner is None:
        raise Fenced(f"session {write.session!r} is at epoch {epoch}; the writer holds {write.epoch}")
    raise SequenceConflict(f"session {write.session!r} is at {head}; the writer expected {write.expected}")


def _consume(connection: sqlite3.Connection, s: int, items: Sequence[int]) -> None:
    for item in items:
        connection.execute("DELETE FROM inbox WHERE id = ? AND key IS NULL", (item,))
        connection.execute("UPDATE inbox SET taken = 1, body = x'' WHERE id = ?", (item,))
    connection.execute("UPDATE sessions SET pending = pending - ? WHERE s = ?", (len(items), s))


def _claimable(
    connection: sqlite3.Connection, node: str, session: str, is_dead: Callable[[str, float], bool]
) -> list[tuple[Any, ...]]:
    row = connection.execute("SELECT s, owner FROM sessions WHERE id = ?", (session,)).fetchone()
    if row is None:
        raise NotFound(f"there is no session {session!r}")
    s, owner = row
    if owner is None or owner == node or _owner_is_dead(connection, owner, is_dead):
        return [(s,)]
    return []


def _take(connection: sqlite3.Connection, node: str, s: int) -> Claim:
    connection.execute("UPDATE sessions SET owner = ?, epoch = epoch + 1, ready = 1 WHERE s = ?", (node, s))
    info = _info(connection, s)
    snapshot = rows.snapshot(connection, s)
    tail = rows.records(connection, s, 0 if snapshot is None else snapshot.seq, _TAIL_LIMIT)
    return Claim(info, info.epoch, snapshot, tail, rows.inbox(connection, s) if info.pending else [])


def _bury(connection: sqlite3.Connection, node: str, is_dead: Callable[[str, float], bool]) -> None:
    """Take the sessions of dead nodes from them."""
    known = dict(connection.execute("SELECT id, alive_until FROM nodes").fetchall())
    name = ""  # from owner to owner through the index: DISTINCT would visit every session that is owned
    while (
        name := connection.execute("SELECT min(owner) FROM sessions WHERE owner > ?", (name,)).fetchone()[0]
    ) is not None:
        known.setdefault(name, 0.0)
    for owner, until in known.items():
        if owner != node and is_dead(owner, until):
            connection.execute("UPDATE sessions SET owner = NULL WHERE owner = ?", (owner,))
            connection.execute("DELETE FROM nodes WHERE id = ?", (owner,))


def _owner_is_dead(connection: sqlite3.Connection, owner: str, is_dead: Callable[[str, float], bool]) -> bool:
    row = connection.execute("SELECT alive_until FROM nodes WHERE id = ?", (owner,)).fetchone()
    return row is None or is_dead(owner, row[0])


def _info(connection: sqlite3.Connection, s: int) -> SessionInfo:
    return rows.info(connection.execute(f"SELECT {rows.INFO_COLUMNS} FROM sessions WHERE s = ?", (s,)).fetchone())


def _records(head: int, bodies: Sequence[bytes]) -> list[Record]:
    return [Record(head + place, body) for place, body in enumerate(bodies, 1)]
