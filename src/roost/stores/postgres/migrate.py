"""Bring the tables up to date while nodes run, and refuse tables that are too new."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Literal, NamedTuple

import asyncpg

from roost.errors import StoreFailed
from roost.stores.postgres.append_effects import DELIVER
from roost.stores.postgres.call_tables import CALL_ORDER, CALLS, LOST_INDEX
from roost.stores.postgres.database import Link, bounded
from roost.stores.postgres.document_tables import DOCUMENTS
from roost.stores.postgres.fact_tables import FACTS
from roost.stores.postgres.forks import FORKS
from roost.stores.postgres.label_index import FILL, LABELS, OLD_INDEX
from roost.stores.postgres.sql_functions import FUNCTIONS
from roost.stores.postgres.tables import TABLES

_chance = random.Random()
"""Its own generator: the program's may be seeded."""
_STATEMENT_SECONDS = 3600.0
_LOCK_MILLISECONDS = 200
"""A statement that waits for a lock blocks all later ones, so it gives up after this long and tries again."""
_ENCODINGS = ("UTF8", "SQL_ASCII")
"""Usable encodings of the database. SQL_ASCII stores the bytes unchanged."""
_TURN = "SELECT pg_try_advisory_lock(key_0)::boolean FROM hashtextextended('roost migrations ' || $1, 0) AS key_0"
_DONE = "SELECT pg_advisory_unlock(key_0) FROM hashtextextended('roost migrations ' || $1, 0) AS key_0"
_BOOK = """
CREATE TABLE IF NOT EXISTS migrations (
    number int PRIMARY KEY, oldest_reader int NOT NULL, steps_done int NOT NULL, steps int NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
)"""


class Step(NamedTuple):
    """A part of a migration. together: in one transaction with the note that it is done. alone: outside a transaction,
    for CONCURRENTLY statements; must be repeatable. pieces: one statement repeated, each time in its own transaction,
    until it changes no row; for filling in existing rows."""

    sql: str
    how: Literal["together", "alone", "pieces"] = "together"


class Migration(NamedTuple):
    """The steps to layout `number`. Nodes that know at least layout `oldest_reader` can continue to use it."""

    number: int
    steps: Sequence[Step]
    oldest_reader: int = 1


MIGRATIONS: Sequence[Migration] = (
    Migration(1, (Step(TABLES + FUNCTIONS),)),
    Migration(2, (Step(FACTS + FORKS + DELIVER),)),
    Migration(3, (Step(CALLS),)),
    Migration(
        4,
        (Step(CALL_ORDER), Step("DROP INDEX CONCURRENTLY IF EXISTS calls_lost", "alone"), Step(LOST_INDEX, "alone")),
    ),
    Migration(5, (Step(LABELS), Step(FILL), Step(OLD_INDEX, "alone"))),
    Migration(6, (Step(DOCUMENTS),)),
)
"""Online migrations only. They add tables, columns with a constant default, functions with a new number in their name,
and indexes CONCURRENTLY, so that nodes of the previous version can run during and after them. A function may be
replaced by one that behaves the same for its existing callers."""


async def migrate(link: Link, schema: str, migrations: Sequence[Migration]) -> None:
    """Run the missing migrations, in order, in one process at a time. A step interrupted by a crash is run again.
    Raises `StoreFailed` when the tables are too new for `migrations`, or the database encoding cannot store every
    text."""
    if (encoding := link.get_settings().server_encoding) not in _ENCODINGS:
        raise StoreFailed(
            f"the database is in {encoding}, which cannot hold every text: make one with"
            " `createdb --encoding UTF8 --template template0`",
            code="store_refused",
        )
    while not await _is_current(link, schema, migrations):
        # Poll instead of waiting inside the server: a waiting statement is a transaction, and CREATE INDEX CONCURRENTLY
        # of the process that migrates waits for all transactions.
        if not await link.fetchval(_TURN, schema):
            await asyncio.sleep(_chance.uniform(0.02, 0.1))
            continue
        try:
            await _run(link, schema, migrations)
        finally:
            if not link.is_closed():
                await link.execute("SET lock_timeout = 0")
                await link.fetchval(_DONE, schema)


async def _is_current(link: Link, schema: str, migrations: Sequence[Migration]) -> bool:
    if await link.fetchval("SELECT to_regclass($1)", f"{schema}.migrations") is None:
        return False
    known = max(migration.number for migration in migrations)
    rows = await link.fetch("SELECT number, oldest_reader, steps_done >= steps FROM migrations")
    oldest = max((reader for _, reader, _ in rows), default=1)
    if oldest > known:
        raise StoreFailed(
            f"the database has layout {max(number for number, *_ in rows)}, which needs a Roost that knows layout"
            f" {oldest}; this one knows {known}: upgrade Roost",
            code="store_too_new",
        )
    done = {number for number, _, complete in rows if complete}
    return all(migration.number in done for migration in migrations)


async def _run(link: Link, schema: str, migrations: Sequence[Migration]) -> None:
    await link.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    await link.execute(_BOOK)
    for migration in sorted(migrations):
        await link.execute(
            "INSERT INTO migrations (number, oldest_reader, steps_done, steps) VALUES ($1, $2, 0, $3)"
            " ON CONFLICT DO NOTHING",
            migration.number,
            migration.oldest_reader,
            len(migration.steps),
        )
        done = await link.fetchval("SELECT steps_done FROM migrations WHERE number = $1", migration.number)
        for place, step in enumerate(migration.steps[done:], done + 1):
            await bounded(link, _step(link, migration.number, place, step), _STATEMENT_SECONDS)


async def _step(link: Link, number: int, place: int, step: Step) -> None:
    note = f"UPDATE migrations SET steps_done = {place}, at = now() WHERE number = {number}"
    if step.how == "together":
        await _patiently(link, f"BEGIN; {step.sql.rstrip().rstrip(';')}; {note}; COMMIT")
        return
    if step.how == "alone":
        await link.execute("SET lock_timeout = 0")
        await link.execute(step.sql)
    while step.how == "pieces" and await _patiently(link, step.sql):
        pass
    await link.execute(note)


async def _patiently(link: Link, sql: str) -> int:
    """Run a statement with a lock timeout, repeating it until it gets its locks. Returns the number of changed rows."""
    await link.execute(f"SET lock_timeout = {_LOCK_MILLISECONDS}")
    while True:
        try:
            return (
                int((await link.execute(sql)).rpartition(" ")[2] or 0) if sql[:5] != "BEGIN" else await _all(link, sql)
            )
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            await link.execute("ROLLBACK")
            await asyncio.sleep(_chance.uniform(0.1, 0.5))


async def _all(link: Link, sql: str) -> int:
    await link.execute(sql)
    return 0
