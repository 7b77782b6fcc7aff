"""Documents in the SQLite store."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from roost.errors import StoreFailed
from roost.log.document_watchers import DocumentWatchers
from roost.log.documents import PAGE_BYTES, Document, DocumentQuery, Put, Write, changed, check_query, check_writes
from roost.stores.conditions import Conditions
from roost.stores.document_rows import COLUMNS, document, document_row, documents_sql, key_rows
from roost.stores.sqlite.commit_group import Group
from roost.stores.sqlite.database import Part, SqliteDatabase, reads

_ONE = f"SELECT {COLUMNS} FROM documents WHERE kind = ? AND id = ?"
_PUT = f"INSERT OR REPLACE INTO documents ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_COUNT = """
INSERT INTO document_changes VALUES (?, 1)
ON CONFLICT (kind) DO UPDATE SET number = number + 1 RETURNING kind, number"""


class SqliteDocuments(Part):
    def __init__(self, database: SqliteDatabase) -> None:
        super().__init__(database)
        self._watchers = DocumentWatchers()
        self._seen: dict[str, int] = {}
        self._looking: asyncio.Task[None] | None = None
        self._again = False
        """Another process has committed since the look in progress began."""
        database.on_elsewhere = self._look_later

    async def write(self, writes: Sequence[Write]) -> list[Document | None]:
        check_writes(writes)
        writing = self.database.write(lambda group: _write(group, writes, time.time()))
        writing.add_done_callback(self._written)  # also when the caller is cancelled
        done, _ = await asyncio.shield(writing)
        return done

    @reads
    def get(self, connection: sqlite3.Connection, kind: str, id: str) -> Document | None:
        return _get(connection, kind, id)

    async def find(self, query: DocumentQuery) -> list[Document]:
        check_query(query)
        where = Conditions()
        sql = documents_sql(query, where)
        return await self.database.read(
            lambda connection: joined(connection.execute(sql, (*where.values, query.limit)))
        )

    def watch(self, kind: str, listener: Callable[[], None]) -> Callable[[], None]:
        return self._watchers.watch(kind, listener)

    def _written(self, writing: asyncio.Future[tuple[list[Document | None], dict[str, int]]]) -> None:
        if not writing.cancelled() and writing.exception() is None:
            _, numbers = writing.result()
            self._seen |= numbers
            self._watchers.changed(numbers)

    def _look_later(self) -> None:
        """Another process has committed something."""
        self._again = True
        if self._watchers and (self._looking is None or self._looking.done()):
            self._looking = self.database.later(self._look())

    async def _look(self) -> None:
        while self._again:
            self._again = False
            try:
                found = await self.database.read(_numbers)
            except StoreFailed:
                self._watchers.changed()
                return
            news = [kind for kind, number in found.items() if self._seen.get(kind, 0) < number]
            self._seen |= {kind: found[kind] for kind in news}
            self._watchers.changed(news)


def joined(rows: Iterable[Sequence[Any]]) -> list[Document]:
    """Return the rows' documents, up to `PAGE_BYTES`."""
    found: list[Document] = []
    size = 0
    for row in rows:
        found.append(document(row))
        size += len(found[-1].body)
        if size >= PAGE_BYTES:
            break
    return found


def store(connection: sqlite3.Connection, one: Document, former: Document | None) -> None:
    """Write a row and its keys in place of the former ones."""
    connection.execute(_PUT, document_row(one))
    if former is None or (former.keys, former.owner) != (one.keys, one.owner):
        _remove_keys(connection, one.kind, one.id)
        connection.executemany("INSERT INTO document_keys VALUES (?, ?, ?, ?, ?)", key_rows(one))


def count(connection: sqlite3.Connection, kinds: set[str]) -> dict[str, int]:
    """Raise the number of changes of each kind, and return it: by it other processes notice a change."""
    return dict(connection.execute(_COUNT, (kind,)).fetchone() for kind in kinds)


def _write(group: Group, writes: Sequence[Write], now: float) -> tuple[list[Document | None], dict[str, int]]:
    connection = group.connection
    former = [_get(connection, one.kind, one.id) for one in writes]
    for one, old in zip(writes, former, strict=True):
        if one.revision not in (None, old.revision if old else 0):
            raise changed(one, old.revision if old else 0)
    done: list[Document | None] = []
    for one, old in zip(writes, former, strict=True):
        if not isinstance(one, Put):
            _remove_keys(connection, one.kind, one.id)
            connection.execute("DELETE FROM documents WHERE kind = ? AND id = ?", (one.kind, one.id))
            done.append(None)
            continue
        new = Document(
            kind=one.kind,
            id=one.id,
            body=one.body,
            owner=one.owner,
            keys=dict(one.keys),
            revision=old.revision + 1 if old else 1,
            created=old.created if old else now,
            changed=now,
        )
        store(connection, new, old)
        done.append(new)
    return done, count(connection, {one.kind for one in writes})


def _get(connection: sqlite3.Connection, kind: str, id: str) -> Document | None:
    row = connection.execute(_ONE, (kind, id)).fetchone()
    return None if row is None else document(row)


def _remove_keys(connection: sqlite3.Connection, kind: str, id: str) -> None:
    connection.execute("DELETE FROM document_keys WHERE kind = ? AND id = ?", (kind, id))


def _numbers(connection: sqlite3.Connection) -> dict[str, int]:
    return dict(connection.execute("SELECT kind, number FROM document_changes").fetchall())
