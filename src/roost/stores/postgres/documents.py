"""Documents in the PostgreSQL store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import asyncpg

from roost.errors import StoreUnreachable
from roost.log.documents import PAGE_BYTES, Document, DocumentQuery, Put, Write, changed, check_query, check_writes
from roost.stores.conditions import Conditions, numbered
from roost.stores.document_rows import COLUMNS, document, document_row, documents_sql, key_rows
from roost.stores.postgres.changes import PostgresChanges
from roost.stores.postgres.database import ANSWER, Link, Pool

_EACH = 0.05
"""Seconds allowed per write when there are many, on a slow disk."""
_LOOKS = 40
_LOOK_PAUSE = 0.05
_ONE = f"SELECT {COLUMNS} FROM documents WHERE kind = $1 AND id = $2"
_LOCK = """
SELECT d.kind, d.id, d.revision, d.created FROM unnest($1::text[], $2::text[]) AS w (kind, id)
JOIN documents d ON d.kind = w.kind AND d.id = w.id ORDER BY d.kind, d.id FOR UPDATE OF d"""
_MAKE = f"INSERT INTO documents ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (kind, id) DO NOTHING"
_REPLACE = """
UPDATE documents SET owner = $3, revision = $4, created = $5, changed = $6, keys = $7, body = $8
WHERE kind = $1 AND id = $2"""
_DELETE = "DELETE FROM documents WHERE kind = $1 AND id = $2"
_NO_KEYS = "DELETE FROM document_keys WHERE kind = $1 AND id = $2"
_ADD_KEY = "INSERT INTO document_keys VALUES ($1, $2, $3, $4, $5)"
_TELL = "SELECT pg_notify(current_schema(), payload) FROM unnest($1::text[]) AS p (payload)"


class PostgresDocuments:
    def __init__(self, pool: Pool, changes: PostgresChanges) -> None:
        self._pool, self._changes = pool, changes

    async def write(self, writes: Sequence[Write]) -> list[Document | None]:
        check_writes(writes)
        kinds = {one.kind for one in writes}
        former: tuple[int, list[Document | None]] | None = None

        async def run(link: Link) -> list[Document | None]:
            nonlocal former  # the transaction whose answer may have been lost with its connection
            try:
                if former is not None and await _is_committed(link, former[0]):
                    return former[1]
                async with link.transaction():
                    done = await _write(link, writes)
                    await tell(link, self._changes, kinds)
                    former = await link.fetchval("SELECT txid_current()"), done
            finally:
                if former is not None:
                    self._changes.documents.changed(kinds)
            return done

        return await self._pool.run(run, seconds=ANSWER + _EACH * len(writes))

    async def get(self, kind: str, id: str) -> Document | None:
        row: Any = await self._pool.run(lambda link: link.fetchrow(_ONE, kind, id))
        return None if row is None else document(row)

    async def find(self, query: DocumentQuery) -> list[Document]:
        check_query(query)
        where = Conditions()
        sql = page_sql(documents_sql(query, where), "id DESC" if query.newest else "id")
        rows: list[Any] = await self._pool.run(lambda link: link.fetch(sql, *where.values, query.limit, PAGE_BYTES))
        return [document(row) for row in rows]

    def watch(self, kind: str, listener: Callable[[], None]) -> Callable[[], None]:
        return self._changes.documents.watch(kind, listener)


def page_sql(found: str, order: str) -> str:
    """Cut a query's rows after as many bytes as its last place says."""
    before = f"sum(octet_length(body)) OVER (ORDER BY {order}) - octet_length(body) AS before"
    return numbered(
        f"SELECT {COLUMNS} FROM (SELECT *, {before} FROM ({found}) AS f) AS p WHERE before < ? ORDER BY {order}"
    )


async def store(link: Link, one: Document, *, new: bool) -> None:
    """Write a row and its keys in place of the former ones. Raises `SerializationError`, after which the transaction is
    tried again, when another transaction has just made the document."""
    made = await link.execute(_MAKE if new else _REPLACE, *document_row(one))
    if made == "INSERT 0 0":
        raise asyncpg.SerializationError("another transaction made the document")
    if not new:
        await link.execute(_NO_KEYS, one.kind, one.id)
    if one.keys:
        await link.executemany(_ADD_KEY, key_rows(one))


async def _is_committed(link: Link, transaction: int) -> bool:
    """Whether a transaction was committed whose connection broke. Raises `StoreUnreachable` when the server does not
    know yet."""
    for _ in range(_LOOKS):
        found = await link.fetchval("SELECT txid_status($1)", transaction)
        if found != "in progress":
            return found == "committed"
        await asyncio.sleep(_LOOK_PAUSE)
    raise StoreUnreachable("the connection to the database broke, and the documents may be written: read them")


async def tell(link: Link, changes: PostgresChanges, kinds: Iterable[str]) -> None:
    """Report the changes to other processes when the transaction commits."""
    await link.execute(_TELL, changes.live.notices.of_documents(kinds))


async def _write(link: Link, writes: Sequence[Write]) -> list[Document | None]:
    """Lock what there is, in one order for all; then check, then write."""
    found: list[Any] = await link.fetch(_LOCK, [one.kind for one in writes], [one.id for one in writes])
    former = {(kind, id): (revision, created) for kind, id, revision, created in found}
    now: float = await link.fetchval("SELECT clock_1()")
    done: dict[tuple[str, str], Document | None] = {}
    for one in sorted(writes, key=lambda one: (one.kind, one.id)):
        revision, created = former.get((one.kind, one.id), (0, now))
        if one.revision not in (None, revision):
            raise changed(one, revision)
        if isinstance(one, Put):
            new = _made(one, revision + 1, created, now)
            await store(link, new, new=not revision)
            done[one.kind, one.id] = new
        else:
            await link.execute(_NO_KEYS, one.kind, one.id)
            await link.execute(_DELETE, one.kind, one.id)
            done[one.kind, one.id] = None
    return [done[one.kind, one.id] for one in writes]


def _made(put: Put, revision: int, created: float, now: float) -> Document:
    return Document(
        kind=put.kind,
        id=put.id,
        body=put.body,
        owner=put.owner,
        keys=dict(put.keys),
        revision=revision,
        created=created,
        changed=now,
    )
