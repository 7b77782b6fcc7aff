"""Dump the content of the SQLite store, and restore it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Generator, Sequence

import msgspec

from roost.errors import Conflict, Invalid
from roost.log.documents import FIND_LIMIT, Document
from roost.log.fact_rows import RESTORING, StoredFact
from roost.log.facts import Space
from roost.log.portable import SessionDump, SharedDump, StoredInput, StoredTimer
from roost.log.protocols import Change, Record
from roost.stores.call_rows import LOST_COLUMNS, amounts_by_id, lost_row, read_lost
from roost.stores.document_rows import ALL
from roost.stores.sqlite import rows
from roost.stores.sqlite.append_effects import keep
from roost.stores.sqlite.commit_group import Group
from roost.stores.sqlite.database import Part, reads, writes
from roost.stores.sqlite.documents import count, joined, store
from roost.stores.sqlite.fact_writes import clear_space, insert
from roost.stores.sqlite.ledger import LOST
from roost.stores.sqlite.work import let_go

_PAGE = "SELECT s, id FROM sessions WHERE s > ? ORDER BY s LIMIT 1000"
_encode = msgspec.json.Encoder().encode


class SqlitePortable(Part):
    async def sessions(self) -> AsyncIterator[str]:
        after = 0
        while page := await self.database.read(lambda c, after=after: c.execute(_PAGE, (after,)).fetchall()):
            for after, session in page:  # noqa: B007
                yield session

    @reads
    def dump(self, connection: sqlite3.Connection, session: str) -> SessionDump:
        with _consistent(connection):
            s = rows.number(connection, session)
            row = connection.execute("SELECT create_key, inputs FROM sessions WHERE s = ?", (s,)).fetchone()
            columns = (
                "SELECT id, key, digest, accepted_at, taken, body FROM inbox WHERE s = ?"  # one partial index each
            )
            inbox = connection.execute(
                f"{columns} AND taken = 0 UNION ALL {columns} AND key IS NOT NULL AND taken = 1", (s, s)
            ).fetchall()
            timers = connection.execute("SELECT id, due, body FROM timers WHERE s = ? ORDER BY id", (s,)).fetchall()
            return SessionDump(
                info=rows.one(connection, "s", s),
                create_key=row[0],
                inputs=row[1],
                inbox=tuple(
                    StoredInput(id, key, digest, at, bool(taken), body)
                    for id, key, digest, at, taken, body in sorted(inbox)
                ),
                timers=tuple(StoredTimer(*timer) for timer in timers),
                snapshot=rows.snapshot_row(connection, s),
                checkpoints=tuple(rows.checkpoint_rows(connection, s)),
            )

    async def restore(self, dump: SessionDump, events: AsyncIterator[list[Record]]) -> None:
        s, former = await self._begin(dump)
        if former is not None:
            self.database.purge_later(former)
        head = 0
        async for records in events:
            if [record.seq for record in records] != list(range(head + 1, head + len(records) + 1)):
                raise Invalid(f"the log of {dump.info.id!r} has a gap after event {head}")
            head += len(records)
            if records:
                await self._add(s, dump.info.id, records)
        if head != dump.info.head:
            raise Invalid(f"the log of {dump.info.id!r} ends at event {head}, its row says {dump.info.head}")
        await self._finish(s, dump)

    @writes
    def _begin(self, group: Group, dump: SessionDump) -> tuple[int, int | None]:
        """Begin a restore. Returns the session's future row number, for adding events before the session exists, and
        the row number of an earlier interrupted restore, which is garbage now."""
        connection = group.connection
        _refuse_taken(connection, dump)
        former = connection.execute("SELECT s FROM restores WHERE id = ?", (dump.info.id,)).fetchone()
        if former is not None:
            connection.execute("INSERT OR IGNORE INTO garbage VALUES (?)", former)
        cursor = connection.execute(
            "INSERT INTO sessions (id, agent, version, created_at, updated_at) VALUES (?, '', '', 0, 0)",
            (dump.info.id,),
        )
        s = cursor.lastrowid
        assert s is not None
        connection.execute("DELETE FROM sessions WHERE s = ?", (s,))  # numbers are never reused
        connection.execute("INSERT OR REPLACE INTO restores VALUES (?, ?)", (dump.info.id, s))
        return s, None if former is None else former[0]

    @writes
    def _add(self, group: Group, s: int, session: str, records: Sequence[Record]) -> None:
        _refuse_replaced(group.connection, s, session)
        group.add_events(s, records[0].seq - 1, [record.body for record in records])

    @writes
    def _finish(self, group: Group, s: int, dump: SessionDump) -> None:
        """Turn the added content into the session."""
        connection, info = group.connection, dump.info
        _refuse_taken(connection, dump)
        _refuse_replaced(connection, s, info.id)
        connection.execute("DELETE FROM restores WHERE id = ?", (info.id,))
        values = {
            **{name: getattr(info, name) for name in rows.PLAIN_COLUMNS},
            "s": s,
            "create_key": dump.create_key,
            "labels": _encode(info.labels).decode(),
            "needs": _encode(info.needs).decode(),
            "pending": sum(not item.taken for item in dump.inbox),
            "inputs": dump.inputs,
        }
        connection.execute(
            f"INSERT INTO sessions ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",
            tuple(values.values()),
        )
        connection.executemany(
            "INSERT INTO inbox (s, id, key, digest, accepted_at, taken, body, urgency) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(s, *item, item.urgency) for item in dump.inbox],
        )
        connection.executemany("INSERT INTO timers VALUES (?, ?, ?, ?)", [(s, *timer) for timer in dump.timers])
        if dump.snapshot is not None:
            connection.execute("INSERT INTO snapshots VALUES (?, ?, ?, ?)", (s, *dump.snapshot))
        for checkpoint in dump.checkpoints:
            keep(connection, s, checkpoint)
        let_go(connection, "s", s)
        group.changes.append(Change(info.id, None, None))

    @reads
    def dump_shared(self, connection: sqlite3.Connection) -> SharedDump:
        with _consistent(connection):
            return SharedDump(
                settings=dict(connection.execute("SELECT name, value FROM settings").fetchall()),
                budgets={name: (spent, held) for name, spent, held in connection.execute("SELECT * FROM budgets")},
                reservations=amounts_by_id(connection.execute("SELECT id, budget, amount FROM reservations")),
                calls=tuple(read_lost(row) for row in connection.execute(f"{LOST} ORDER BY id")),
            )

    @writes
    def restore_shared(self, group: Group, dump: SharedDump) -> None:
        connection = group.connection
        connection.executemany("INSERT OR IGNORE INTO settings VALUES (?, ?)", dump.settings.items())
        connection.execute("DELETE FROM budgets")
        connection.execute("DELETE FROM reservations")
        budgets = [(name, *amounts) for name, amounts in dump.budgets.items()]
        connection.executemany("INSERT INTO budgets VALUES (?, ?, ?)", budgets)
        held = [(id, name, amount) for id, amounts in dump.reservations.items() for name, amount in amounts.items()]
        connection.executemany("INSERT INTO reservations VALUES (?, ?, ?)", held)
        connection.execute("DELETE FROM calls")
        connection.executemany(
            f"INSERT INTO calls (beat_at, {LOST_COLUMNS}) VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [lost_row(call) for call in dump.calls],
        )

    @reads
    def fact_rows(
        self, connection: sqlite3.Connection, space: str, *, after: int = 0, limit: int = 1000
    ) -> list[StoredFact]:
        columns = ", ".join(f"facts.{name}" for name in StoredFact._fields)
        rows = connection.execute(
            f"SELECT {columns} FROM facts JOIN spaces USING (n) WHERE name = ? AND facts.version > ?"
            " ORDER BY facts.version LIMIT ?",
            (space, after, limit),
        )
        return [StoredFact(*row)._replace(proposed=bool(row[5])) for row in rows]

    async def restore_space(self, space: Space, pages: AsyncIterator[list[StoredFact]]) -> None:
        hidden = RESTORING + space.name
        await self._begin_space(space.name, hidden)
        async for page in pages:
            await self._add_facts(hidden, page)
        await self._finish_space(space, hidden)

    @writes
    def _begin_space(self, group: Group, space: str, hidden: str) -> None:
        clear_space(group.connection, space)
        clear_space(group.connection, hidden)
        group.connection.execute("INSERT INTO spaces (name) VALUES (?)", (hidden,))

    @writes
    def _add_facts(self, group: Group, hidden: str, rows: Sequence[StoredFact]) -> None:
        (n,) = group.connection.execute("SELECT n FROM spaces WHERE name = ?", (hidden,)).fetchone()
        for row in rows:
            insert(group.connection, n, row)

    @writes
    def _finish_space(self, group: Group, space: Space, hidden: str) -> None:
        group.connection.execute("UPDATE spaces SET name = ?, version = ?, facts = ? WHERE name = ?", (*space, hidden))

    @reads
    def documents(self, connection: sqlite3.Connection, after: tuple[str, str] = ("", "")) -> list[Document]:
        return joined(connection.execute(ALL, (*after, FIND_LIMIT)))

    @writes
    def restore_documents(self, group: Group, documents: Sequence[Document]) -> None:
        for one in documents:
            store(group.connection, one, None)
        count(group.connection, {one.kind for one in documents})


@contextlib.contextmanager
def _consistent(connection: sqlite3.Connection) -> Generator[None]:
    """Read from one view of the database."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


def _refuse_taken(connection: sqlite3.Connection, dump: SessionDump) -> None:
    if connection.execute("SELECT 1 FROM sessions WHERE id = ?", (dump.info.id,)).fetchone():
        raise Conflict(f"there is already a session {dump.info.id!r}", code="session_exists")
    if connection.execute("SELECT 1 FROM sessions WHERE create_key = ?", (dump.create_key,)).fetchone():
        raise Conflict(f"there is already a session with the key {dump.create_key!r}", code="session_exists")


def _refuse_replaced(connection: sqlite3.Connection, s: int, session: str) -> None:
    if not connection.execute("SELECT 1 FROM restores WHERE id = ? AND s = ?", (session, s)).fetchone():
        raise Conflict(f"session {session!r} is being restored by another request", code="session_exists")
