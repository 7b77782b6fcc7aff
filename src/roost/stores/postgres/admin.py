"""Inspect a PostgreSQL store without a journal: see `roost.stores.admin`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import asyncpg

from roost.errors import StoreFailed
from roost.stores.document_rows import UNINDEXED, UNINDEXED_DETAIL, UNINDEXED_FIX
from roost.stores.findings import Fault, Layout
from roost.stores.postgres.database import Address, Link
from roost.stores.postgres.errors import failure
from roost.stores.postgres.migrate import MIGRATIONS

_MOST = 100
"""Limit of reported rows per kind, as a damaged database may have any number."""
_FREE = "harmless but for the room that it takes"
_KNOWN = "SELECT s FROM sessions UNION ALL SELECT s FROM garbage"
_STRAYS = f"""
WITH RECURSIVE one(s) AS (
    (SELECT s FROM {{table}} ORDER BY s LIMIT 1)
    UNION ALL
    SELECT (SELECT t.s FROM {{table}} t WHERE t.s > one.s ORDER BY t.s LIMIT 1) FROM one WHERE one.s IS NOT NULL
) SELECT s FROM one WHERE s IS NOT NULL AND s NOT IN ({_KNOWN}) LIMIT {_MOST}
"""
"""Steps from number to number through the index; DISTINCT would visit every row."""
_READY = f"""
SELECT id, ready, work FROM (
    SELECT id, ready, state = 'running' AND phase = 'working' OR EXISTS (
        SELECT FROM inbox i WHERE i.s = x.s AND NOT i.taken AND i.urgency >= admits_1(x.state, x.phase)) AS work
    FROM sessions x WHERE owner IS NULL
) found WHERE ready <> work LIMIT {_MOST}
"""
_PARTITIONS = """
SELECT p.name, p.first, p.past, c.relispartition AS attached, p.dropping
FROM partitions p LEFT JOIN pg_class c ON c.oid = to_regclass(p.name) ORDER BY p.first
"""
_HOMELESS = f"""
SELECT id, s FROM sessions x WHERE NOT EXISTS (SELECT FROM partitions p WHERE x.s >= p.first AND x.s < p.past)
LIMIT {_MOST}
"""
_UNINDEXED = """
SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = current_schema()::regnamespace AND NOT (i.indisvalid AND i.indisready)
"""


async def layout(url: str) -> Layout:
    """Return the layout of the tables. Raises `StoreFailed`."""
    known = max(migration.number for migration in MIGRATIONS)
    async with _reading(url) as (link, schema):
        done: set[int] = set()
        if await link.fetchval("SELECT to_regclass($1)", f"{schema}.migrations") is not None:
            rows: list[Any] = await link.fetch("SELECT number, oldest_reader, steps_done >= steps FROM migrations")
            done = {number for number, _, complete in rows if complete}
            oldest = max((reader for _, reader, _ in rows), default=0)
            if oldest > known:
                raise StoreFailed(
                    f"the database needs a Roost that knows layout {oldest}, this one knows {known}: upgrade Roost",
                    code="store_too_new",
                )
    missing = sorted(migration.number for migration in MIGRATIONS if migration.number not in done)
    return Layout(max(done, default=0), max([known, *done]), tuple(f"layout {number}" for number in missing))


async def faults(url: str) -> list[Fault]:
    """Return faults in the rows. Raises `StoreFailed`."""
    async with _reading(url) as (link, _):
        await link.execute("SET enable_seqscan = on; SET enable_hashjoin = on; SET enable_bitmapscan = on")
        parts = (_strays(link), _ready(link), _partitions(link), _indexes(link), _documents(link))
        return [found for part in parts async for found in part]


async def _strays(link: Link) -> AsyncIterator[Fault]:
    """Yield rows of sessions that do not exist. Rows of a deletion in progress are expected."""
    for table in ("events", "inbox", "timers", "snapshots", "checkpoints", "lineage"):
        for (s,) in await _rows(link, _STRAYS.format(table=table)):
            yield Fault("orphan", f"{table} of a session that is not there, number {s}", fix=_FREE)


async def _ready(link: Link) -> AsyncIterator[Fault]:
    for session, ready, work in await _rows(link, _READY):
        detail = f"it is marked {'ready' if ready else 'not ready'}, and has {'work' if work else 'no work'}"
        yield Fault("ready", detail, session, "any input to it sets this right")


async def _documents(link: Link) -> AsyncIterator[Fault]:
    for kind, id in await _rows(link, UNINDEXED):
        yield Fault("document", UNINDEXED_DETAIL.format(kind=kind, id=id), fix=UNINDEXED_FIX)


async def _partitions(link: Link) -> AsyncIterator[Fault]:
    """Check that the event tables match the table `partitions`, and that every session has one."""
    for name, first, past, attached, dropping in await _rows(link, _PARTITIONS):
        if not attached and not dropping:
            lost = "is not attached" if attached is False else "is gone"
            yield Fault("partition", f"the table {name}, of sessions {first} to {past - 1}, {lost}", fix="restore it")
    for session, s in await _rows(link, _HOMELESS):
        yield Fault("partition", f"no table is for its events, number {s}", session, "start a daemon: it makes one")


async def _indexes(link: Link) -> AsyncIterator[Fault]:
    for (name,) in await _rows(link, _UNINDEXED):
        yield Fault("index", f"the index {name} is not valid", fix=f"REINDEX INDEX CONCURRENTLY {name}")


async def _rows(link: Link, sql: str) -> list[Any]:
    return await link.fetch(sql)


@contextlib.asynccontextmanager
async def _reading(url: str) -> AsyncGenerator[tuple[Link, str]]:
    """Yield a connection with one consistent view, and the schema."""
    address = Address.parse(url, "full")
    try:
        link = await address.connect("roost check")
        try:
            async with link.transaction(isolation="repeatable_read", readonly=True):
                yield link, address.schema
        finally:
            await link.close()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise failure(error) from error
