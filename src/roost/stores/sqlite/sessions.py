"""The index of sessions in the SQLite store: create, fork, find and delete them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

import msgspec

from roost.errors import Conflict, NotFound
from roost.log.events import Event, encode_event
from roost.log.inputs import beginning_of
from roost.log.protocols import Change, NewSession, SessionQuery, Snapshot, check_fork
from roost.log.session_info import Phase, SessionInfo, SessionState
from roost.stores.conditions import Conditions
from roost.stores.session_rows import last_with_room, no_room, sessions_sql
from roost.stores.sqlite import deletion, rows
from roost.stores.sqlite.commit_group import Group
from roost.stores.sqlite.database import Part, reads, writes
from roost.stores.sqlite.fact_writes import clear_space
from roost.stores.sqlite.work import let_go

_WHOSE = """
WITH RECURSIVE log(s) AS (
    SELECT ?1 UNION ALL SELECT lineage.base FROM log JOIN lineage ON lineage.s = log.s WHERE lineage.upto >= ?2
) SELECT s FROM log"""
"""Follows the lineage from session ?1 to the log that has its event ?2: the last row."""
_encode_json = msgspec.json.Encoder().encode


class SqliteSessions(Part):
    @writes
    def create(
        self, group: Group, session: NewSession, events: Sequence[Event], *, key: str | None = None
    ) -> SessionInfo:
        if (made := _former(group.connection, session.id, key)) is not None:
            return made
        _demand_room(group.connection, session)
        s = _insert(group.connection, session, key, len(events))
        _add_first(group, s, session.id, 0, events)
        return rows.one(group.connection, "s", s)

    @writes
    def fork(
        self,
        group: Group,
        source: str,
        at: int,
        session: NewSession,
        snapshot: Snapshot,
        events: Sequence[Event],
        *,
        key: str | None = None,
        state: SessionState = "created",
        phase: Phase = "idle",
    ) -> SessionInfo:
        connection = group.connection
        if (made := _former(connection, session.id, key)) is not None:
            return made
        _demand_room(connection, session)
        row = connection.execute("SELECT s, head, format FROM sessions WHERE id = ?", (source,)).fetchone()
        if row is None:
            raise NotFound(f"there is no session {source!r}")
        base, head, form = row
        check_fork(source, head, at, snapshot, len(events))
        s = _insert(connection, session, key, at + len(events))
        connection.execute(
            "UPDATE sessions SET shared = ?, format = ?, state = ?, phase = ? WHERE s = ?", (at, form, state, phase, s)
        )
        (*_, (owner,)) = connection.execute(_WHOSE, (base, at))
        connection.execute("INSERT INTO lineage (s, base, upto) VALUES (?, ?, ?)", (s, owner, at))
        connection.execute("INSERT INTO snapshots VALUES (?, ?, ?, ?)", (s, *snapshot))
        _add_first(group, s, session.id, at, events)
        let_go(connection, "s", s)
        return rows.one(connection, "s", s)

    @reads
    def get(self, connection: sqlite3.Connection, session: str) -> SessionInfo:
        return rows.one(connection, "id", session)

    @reads
    def find(self, connection: sqlite3.Connection, query: SessionQuery) -> list[SessionInfo]:
        where = Conditions()
        if query.ids is not None:
            where.add(f"id IN ({','.join('?' * len(query.ids))})", *query.ids)
        sql = sessions_sql(query, where)
        return [rows.info(row) for row in connection.execute(sql, where.values)]

    @reads
    def with_timers(
        self,
        connection: sqlite3.Connection,
        prefix: str,
        *,
        fired: str | None = None,
        after: str = "",
        limit: int = 1000,
    ) -> list[str]:
        among = "SELECT DISTINCT s FROM timers WHERE substr(id, 1, ?) = ?"
        values: list[str | int | bytes] = [len(prefix), prefix]
        if fired is not None:
            body = beginning_of(fired)
            among += " UNION SELECT s FROM inbox WHERE taken = 0 AND substr(body, 1, ?) = ?"
            values += [len(body), body]
        found = connection.execute(
            f"SELECT n.id FROM ({among}) t JOIN sessions n ON n.s = t.s WHERE n.id > ? ORDER BY n.id LIMIT ?",
            (*values, after, limit),
        )
        return [session for (session,) in found]

    async def delete(self, session: str, *, epoch: int | None = None) -> None:
        self.database.purge_later(await self._hide(session, epoch))

    @writes
    def _hide(self, group: Group, session: str, epoch: int | None) -> int:
        """Delete the session's rows except its events, which `purge` removes piece by piece. Returns its row number."""
        connection = group.connection
        row = connection.execute("SELECT s, owner, epoch FROM sessions WHERE id = ?", (session,)).fetchone()
        if row is None:
            raise NotFound(f"there is no session {session!r}")
        s, owner, held = row
        if owner is not None and epoch != held and not self.database.owner_is_dead(connection, owner):
            raise Conflict(f"session {session!r} is in use: stop it first", code="session_busy")
        connection.execute("INSERT OR IGNORE INTO garbage VALUES (?)", (s,))
        for table in ("sessions", "timers", "snapshots", "checkpoints"):
            connection.execute(f"DELETE FROM {table} WHERE s = ?", (s,))
        for part in ("taken = 0", "key IS NOT NULL"):  # one partial index each
            connection.execute(f"DELETE FROM inbox WHERE s = ? AND {part}", (s,))
        clear_space(connection, f"session:{session}")
        group.numbers.pop(session, None)
        group.changes.append(Change(session, None))
        return s

    async def purge(self) -> None:
        while found := await self.database.read(deletion.garbage):
            for s in found:
                await self.database.purge(s)


def _former(connection: sqlite3.Connection, session: str, key: str | None) -> SessionInfo | None:
    """Return the session that was created with this key, if any. Raises `Conflict` when the id is taken."""
    if key is not None:
        found = connection.execute("SELECT s FROM sessions WHERE create_key = ?", (key,)).fetchone()
        if found is not None:
            return rows.one(connection, "s", found[0])
    if connection.execute("SELECT 1 FROM sessions WHERE id = ?", (session,)).fetchone():
        raise Conflict(f"there is already a session {session!r}", code="session_exists")
    return None


def _demand_room(connection: sqlite3.Connection, session: NewSession) -> None:
    """Raise `TooManySessions` for a new session for which its account has no room."""
    if (query := last_with_room(session)) is not None:
        where = Conditions()
        sql = sessions_sql(query, where)
        if session.most == 0 or connection.execute(sql, where.values).fetchone():
            raise no_room(session)


def _insert(connection: sqlite3.Connection, session: NewSession, key: str | None, head: int) -> int:
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


def _add_first(group: Group, s: int, session: str, head: int, events: Sequence[Event]) -> None:
    """Add the session's first own events, those after `head`."""
    bodies = [encode_event(event) for event in events]
    group.add_events(s, head, bodies)
    group.changes.append(Change(session, rows.records(head, bodies)))
