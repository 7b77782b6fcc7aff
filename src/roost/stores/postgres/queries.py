"""Read logs, inboxes and the index, one statement each."""

from __future__ import annotations

from typing import Any

from roost.errors import NotFound, StoreFailed
from roost.log.inputs import beginning_of
from roost.log.protocols import READ_BYTES, InboxItem, Record, SessionInfo, SessionQuery
from roost.stores.postgres import rows
from roost.stores.postgres.database import Pool

_GET = f"SELECT {rows.INFO_COLUMNS} FROM sessions WHERE id = $1"
_READ = "SELECT head, bodies, seqs FROM read_1($1, $2, $3, $4)"
_PENDING = """
SELECT i.id, i.accepted_at, i.body FROM sessions x LEFT JOIN inbox i ON i.s = x.s AND NOT i.taken
WHERE x.id = $1 ORDER BY i.id"""

_WITH_TIMERS = """
SELECT n.id COLLATE "C" AS session FROM (
    SELECT s FROM timers WHERE starts_with(id, $1)
    UNION SELECT s FROM inbox WHERE NOT taken AND substring(body FROM 1 FOR length($2::bytea)) = $2
) t JOIN sessions n ON n.s = t.s
WHERE n.id COLLATE "C" > $3 ORDER BY session LIMIT $4"""


async def get(pool: Pool, session: str) -> SessionInfo:
    row: Any = await pool.run(lambda link: link.fetchrow(_GET, session))
    if row is None:
        raise _missing(session)
    return rows.info(row)


async def find(pool: Pool, query: SessionQuery) -> list[SessionInfo]:
    sql, values = rows.find(query)
    found: list[Any] = await pool.run(lambda link: link.fetch(sql, *values))
    return [rows.info(row) for row in found]


async def read(pool: Pool, session: str, after: int, limit: int) -> list[Record]:
    row: Any = await pool.run(lambda link: link.fetchrow(_READ, session, after, limit, READ_BYTES))
    head, bodies, seqs = row
    if head is None:
        raise _missing(session)
    if head > after and limit > 0 and not bodies:
        raise StoreFailed(
            f"events after {after} of session {session!r} are not there: attach their partition again",
            code="events_detached",
        )
    return list(map(Record, seqs or (), bodies or ()))


async def pending(pool: Pool, session: str) -> list[InboxItem]:
    found = await pool.run(lambda link: link.fetch(_PENDING, session))
    if not found:
        raise _missing(session)
    if found[0][0] is None:
        return []
    return rows.inbox(*zip(*found, strict=True))


async def with_timers(pool: Pool, prefix: str, fired: str | None, after: str, limit: int) -> list[str]:
    body = None if fired is None else beginning_of(fired)
    found: list[Any] = await pool.run(lambda link: link.fetch(_WITH_TIMERS, prefix, body, after, limit))
    return [session for (session,) in found]


def _missing(session: str) -> NotFound:
    return NotFound(f"there is no session {session!r}")
