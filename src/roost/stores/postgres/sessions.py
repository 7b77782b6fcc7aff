"""The index of sessions in the PostgreSQL store: create, fork, find and delete them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from roost.errors import Conflict, NotFound
from roost.log.events import Event, encode_event
from roost.log.inputs import beginning_of
from roost.log.protocols import Change, NewSession, SessionQuery, Snapshot, check_fork
from roost.log.session_info import Phase, SessionInfo, SessionState
from roost.stores.conditions import Conditions, numbered
from roost.stores.postgres import rows
from roost.stores.postgres.changes import PostgresChanges
from roost.stores.postgres.database import Link, Pool
from roost.stores.postgres.notify import LOG, WORK
from roost.stores.postgres.partitions import with_room
from roost.stores.postgres.upkeep import Upkeep
from roost.stores.postgres.writer import GroupWriter
from roost.stores.session_rows import INFO_COLUMNS, last_with_room, no_room, sessions_sql

_GET = f"SELECT {INFO_COLUMNS} FROM sessions WHERE id = $1"
_CREATE = "SELECT s, same, at FROM create_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
_FORK = (
    "SELECT s, same, at, head, format FROM"
    " fork_2($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
)
_WITH_TIMERS = """
SELECT n.id COLLATE "C" AS session FROM (
    SELECT s FROM timers WHERE starts_with(id, $1)
    UNION SELECT s FROM inbox WHERE NOT taken AND substring(body FROM 1 FOR length($2::bytea)) = $2
) t JOIN sessions n ON n.s = t.s
WHERE n.id COLLATE "C" > $3 ORDER BY session LIMIT $4"""
_TURN = "SELECT pg_advisory_xact_lock(hashtextextended('roost sessions ' || current_schema() || ' ' || $1, 0))"
_THERE = "SELECT 1 FROM sessions WHERE id = $1 OR create_key = $2"
_encode_json = msgspec.json.Encoder().encode


class PostgresSessions:
    def __init__(self, pool: Pool, changes: PostgresChanges, upkeep: Upkeep, writer: GroupWriter) -> None:
        self._pool, self._changes, self._upkeep, self._writer = pool, changes, upkeep, writer

    async def create(self, session: NewSession, events: Sequence[Event], *, key: str | None = None) -> SessionInfo:
        bodies = [encode_event(event) for event in events]
        s, same, at = await self._make(session, key, _CREATE, session.id, key, *_values(session), bodies)
        if same is not None:
            return await self.get(same)
        if s is None:
            raise _taken(session.id)
        return self._made(s, _info(session, "created", "idle", len(bodies), at), bodies)

    async def fork(
        self,
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
        bodies = [encode_event(event) for event in events]
        values = (source, at, session.id, key, *_values(session), bodies, *snapshot, state, phase)
        s, same, made_at, head, form = await self._make(session, key, _FORK, *values)
        if same is not None:
            return await self.get(same)
        if head is None:
            raise _missing(source)
        if s is None:
            check_fork(source, head, at, snapshot, len(events))
            raise _taken(session.id)
        return self._made(s, _info(session, state, phase, at + len(bodies), made_at, form), bodies)

    async def _make(self, session: NewSession, key: str | None, sql: str, *values: object) -> Any:
        async def insert(link: Link) -> Any:
            if (query := last_with_room(session)) is None:
                return await link.fetchrow(sql, *values)
            async with link.transaction():
                await _demand_room(link, session, key, query)
                return await link.fetchrow(sql, *values)

        async def make(link: Link) -> Any:
            return await with_room(link, lambda: insert(link))

        return await self._pool.run(make, repeat=key is not None)

    def _made(self, s: int, made: SessionInfo, bodies: list[bytes]) -> SessionInfo:
        self._upkeep.made(s)
        change = Change(made.id, rows.records(made.head - len(bodies), bodies))
        self._changes.publish(change, WORK if made.phase == "working" else LOG)
        return made

    async def get(self, session: str) -> SessionInfo:
        row: Any = await self._pool.run(lambda link: link.fetchrow(_GET, session))
        if row is None:
            raise _missing(session)
        return rows.info(row)

    async def find(self, query: SessionQuery) -> list[SessionInfo]:
        where = Conditions()
        if query.ids is not None:
            where.add("id = ANY (?::text[])", list(query.ids))
        sql = numbered(sessions_sql(query, where))
        found: list[Any] = await self._pool.run(lambda link: link.fetch(sql, *where.values))
        return [rows.info(row) for row in found]

    async def with_timers(
        self, prefix: str, *, fired: str | None = None, after: str = "", limit: int = 1000
    ) -> list[str]:
        body = None if fired is None else beginning_of(fired)
        found: list[Any] = await self._pool.run(lambda link: link.fetch(_WITH_TIMERS, prefix, body, after, limit))
        return [session for (session,) in found]

    async def delete(self, session: str, *, epoch: int | None = None) -> None:
        # Hides the session at once; `purge` removes its events piece by piece.
        row: Any = await self._pool.run(
            lambda link: link.fetchrow("SELECT outcome, s FROM delete_1($1, $2)", session, epoch), repeat=False
        )
        if row[0] == "not_found":
            raise _missing(session)
        if row[0] == "busy":
            raise Conflict(f"session {session!r} is in use: stop it first", code="session_busy")
        self._writer.numbers.pop(session, None)
        self._changes.publish(Change(session, None), LOG)
        self._upkeep.purge_later(row[1])

    async def purge(self) -> None:
        await self._upkeep.purge_all()


async def _demand_room(link: Link, session: NewSession, key: str | None, query: SessionQuery) -> None:
    """Raise `TooManySessions` for a new session for which its account has no room. Others of this account wait for the
    end of the transaction."""
    await link.execute(_TURN, query.account)
    where = Conditions()
    sql = numbered(sessions_sql(query, where))
    full = session.most == 0 or await link.fetchrow(sql, *where.values) is not None
    if full and await link.fetchrow(_THERE, session.id, key) is None:
        raise no_room(session)


def _values(session: NewSession) -> tuple[object, ...]:
    labels = _encode_json(session.labels).decode()
    place = (session.workspace, session.title, session.parent)
    return (session.agent, session.version, *place, labels, list(session.needs))


def _info(session: NewSession, state: SessionState, phase: Phase, head: int, at: float, format: int = 0) -> SessionInfo:
    return SessionInfo(**session.kept, state=state, phase=phase, head=head, created_at=at, updated_at=at, format=format)


def _missing(session: str) -> NotFound:
    return NotFound(f"there is no session {session!r}")


def _taken(session: str) -> Conflict:
    return Conflict(f"there is already a session {session!r}", code="session_exists")
