"""Dump the content of the PostgreSQL store, and restore it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec

from roost.errors import Conflict, Invalid, NotFound
from roost.log.documents import FIND_LIMIT, PAGE_BYTES, Document
from roost.log.fact_rows import COLUMNS, RESTORING, StoredFact, words_of
from roost.log.facts import Space
from roost.log.ledger import LostCall
from roost.log.portable import SessionDump, SharedDump, StoredInput, StoredTimer
from roost.log.protocols import Change, CheckpointRow, Record, Snapshot
from roost.stores.call_rows import LOST_COLUMNS, amounts_by_id, lost_row, read_lost
from roost.stores.document_rows import ALL, document
from roost.stores.postgres import rows
from roost.stores.postgres.append_effects import keep
from roost.stores.postgres.changes import PostgresChanges
from roost.stores.postgres.database import Link, Pool
from roost.stores.postgres.documents import page_sql, store, tell
from roost.stores.postgres.ledger import LOST
from roost.stores.postgres.notify import WORK
from roost.stores.postgres.upkeep import Upkeep

_RESTORE_SECONDS = 24 * 3600.0
_DUMP_SECONDS = 60.0
_PLAIN = (
    "head",
    "created_at",
    "updated_at",
    "epoch",
    "format",
    "state",
    "phase",
    "home",
    "id",
    "agent",
    "version",
    "workspace",
    "title",
    "parent",
)
_COLUMNS = (*_PLAIN, "s", "base", "inputs", "pending", "needs", "create_key", "labels")
_PAGE = "SELECT s, id FROM sessions WHERE s > $1 ORDER BY s LIMIT 1000"
_CHECKPOINTS = """
SELECT seq, label, made_at, cause, files, memory, version, body FROM checkpoints WHERE s = $1 ORDER BY seq"""
_FACT_ROWS = f"""
SELECT {", ".join(f"x.{name}" for name in StoredFact._fields)} FROM facts x JOIN spaces s ON s.n = x.n
WHERE s.name = $1 AND x.version > $2 ORDER BY x.version LIMIT $3"""
_PLACES = ", ".join(f"${place}" for place in range(1, 3 + len(StoredFact._fields)))
_INSERT = f"INSERT INTO facts (n, words, {COLUMNS}) VALUES ({_PLACES}) RETURNING f"
_INDEX = """
INSERT INTO fact_words SELECT DISTINCT $1::bigint, word, $2::bigint FROM unnest(string_to_array($3, ' ')) AS w (word)"""
_PUT_LOST = f"INSERT INTO calls (beat_at, {LOST_COLUMNS}) VALUES (0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
_encode_json = msgspec.json.Encoder().encode


class PostgresPortable:
    def __init__(self, pool: Pool, changes: PostgresChanges, upkeep: Upkeep) -> None:
        self._pool, self._changes, self._upkeep = pool, changes, upkeep

    async def sessions(self) -> AsyncIterator[str]:
        after = 0
        while found := await self._pool.run(lambda link, after=after: link.fetch(_PAGE, after)):
            for after, name in found:  # noqa: B007
                yield name

    async def dump(self, session: str) -> SessionDump:
        async def ask(link: Link) -> SessionDump:
            async with link.transaction(isolation="repeatable_read", readonly=True):
                return await _dump(link, session)

        return await self._pool.run(ask, seconds=_DUMP_SECONDS)

    async def restore(self, dump: SessionDump, events: AsyncIterator[list[Record]]) -> None:
        """Restore in one transaction, however long, so that an interruption leaves nothing."""

        async def write(link: Link) -> None:
            async with link.transaction():
                await _restore(link, dump, events)

        await self._upkeep.make_room()
        try:
            await self._pool.do(write, repeat=False, seconds=_RESTORE_SECONDS)  # `do`: must end with its caller
        except _Theirs as theirs:
            raise theirs.error from theirs
        self._changes.publish(Change(dump.info.id, None, None), WORK)

    async def dump_shared(self) -> SharedDump:
        async def ask(link: Link) -> tuple[list[LostCall], list[Any], list[Any], list[Any]]:
            async with link.transaction(isolation="repeatable_read", readonly=True):
                return (
                    [read_lost(row) for row in await link.fetch(f"{LOST} ORDER BY id")],
                    await link.fetch("SELECT name, value FROM settings"),
                    await link.fetch("SELECT name, spent, reserved FROM budgets"),
                    await link.fetch("SELECT id, budget, amount FROM reservations"),
                )

        calls, settings, budgets, held = await self._pool.run(ask)
        return SharedDump(
            settings=dict(settings),
            budgets={name: (int(spent), int(reserved)) for name, spent, reserved in budgets},
            reservations=amounts_by_id(held),
            calls=tuple(calls),
        )

    async def restore_shared(self, dump: SharedDump) -> None:
        budgets = [(name, Decimal(spent), Decimal(held)) for name, (spent, held) in dump.budgets.items()]
        reservations = [
            (id, name, Decimal(amount)) for id, amounts in dump.reservations.items() for name, amount in amounts.items()
        ]

        async def write(link: Link) -> None:
            async with link.transaction():
                await link.executemany(
                    "INSERT INTO settings VALUES ($1, $2) ON CONFLICT DO NOTHING", dump.settings.items()
                )
                await link.execute("DELETE FROM reservations")
                await link.execute("DELETE FROM budgets")
                await link.executemany("INSERT INTO budgets VALUES ($1, $2, $3)", budgets)
                await link.executemany("INSERT INTO reservations VALUES ($1, $2, $3)", reservations)
                await link.execute("DELETE FROM calls")
                await link.executemany(_PUT_LOST, [lost_row(call) for call in dump.calls])

        await self._pool.run(write)

    async def fact_rows(self, space: str, *, after: int = 0, limit: int = 1000) -> list[StoredFact]:
        found: list[Any] = await self._pool.run(lambda link: link.fetch(_FACT_ROWS, space, after, limit))
        return [StoredFact(*row) for row in found]

    async def restore_space(self, space: Space, pages: AsyncIterator[list[StoredFact]]) -> None:
        n: int = await self._pool.run(lambda link: _begin_space(link, space.name))
        async for page in pages:
            await self._pool.run(lambda link, page=page: _add_facts(link, n, page), repeat=False)
        await self._pool.run(
            lambda link: link.execute("UPDATE spaces SET name = $2, version = $3, facts = $4 WHERE n = $1", n, *space)
        )

    async def documents(self, after: tuple[str, str] = ("", "")) -> list[Document]:
        sql = page_sql(ALL, "kind, id")
        rows: list[Any] = await self._pool.run(lambda link: link.fetch(sql, *after, FIND_LIMIT, PAGE_BYTES))
        return [document(row) for row in rows]

    async def restore_documents(self, documents: Sequence[Document]) -> None:
        async def write(link: Link) -> None:
            async with link.transaction():
                for one in documents:
                    await link.execute("DELETE FROM documents WHERE kind = $1 AND id = $2", one.kind, one.id)
                    await link.execute("DELETE FROM document_keys WHERE kind = $1 AND id = $2", one.kind, one.id)
                    await store(link, one, new=True)
                await tell(link, self._changes, {one.kind for one in documents})

        await self._pool.run(write, seconds=_DUMP_SECONDS)


async def _dump(link: Link, session: str) -> SessionDump:
    row: Any = await link.fetchrow(
        f"SELECT s, create_key, inputs, {rows.INFO_COLUMNS} FROM sessions WHERE id = $1", session
    )
    if row is None:
        raise NotFound(f"there is no session {session!r}")
    s = row[0]
    columns = "SELECT id, key, digest, accepted_at, taken, body FROM inbox WHERE s = $1"  # one partial index each
    inbox = await link.fetch(
        f"{columns} AND NOT taken UNION ALL {columns} AND key IS NOT NULL AND taken ORDER BY id", s
    )
    timers = await link.fetch("SELECT id, due, body FROM timers WHERE s = $1 ORDER BY id", s)
    snapshot: Any = await link.fetchrow("SELECT seq, version, body FROM snapshots WHERE s = $1", s)
    checkpoints: list[Any] = await link.fetch(_CHECKPOINTS, s)
    return SessionDump(
        info=rows.info(row[3:]),
        create_key=row[1],
        inputs=row[2],
        inbox=tuple(StoredInput(*one) for one in inbox),
        timers=tuple(StoredTimer(*one) for one in timers),
        snapshot=Snapshot(*snapshot) if snapshot else None,
        checkpoints=tuple(
            CheckpointRow(seq, label, made_at, cause, files, memory, Snapshot(seq, version, body))
            for seq, label, made_at, cause, files, memory, version, body in checkpoints
        ),
    )


async def _restore(link: Link, dump: SessionDump, events: AsyncIterator[list[Record]]) -> None:
    info = dump.info
    s: int = await link.fetchval("SELECT nextval('sessions_s_seq')")
    head = 0
    async for records in _given(events):
        if [record.seq for record in records] != list(range(head + 1, head + len(records) + 1)):
            raise Invalid(f"the events of session {info.id!r} have a gap after {head}")
        await link.copy_records_to_table("events", records=[(s, *record) for record in records])
        head += len(records)
    if head != info.head:
        raise Invalid(f"session {info.id!r} has {info.head} events; {head} came")
    values = {
        **{name: getattr(info, name) for name in _PLAIN},
        "s": s,
        "base": info.head,
        "inputs": dump.inputs,
        "pending": sum(not item.taken for item in dump.inbox),
        "needs": list(info.needs),
        "create_key": dump.create_key,
        "labels": _encode_json(info.labels).decode(),
    }
    places = ", ".join(f"${number}" for number in range(1, len(_COLUMNS) + 1))
    try:
        await link.execute(
            f"INSERT INTO sessions ({', '.join(_COLUMNS)}) VALUES ({places})", *(values[name] for name in _COLUMNS)
        )
    except asyncpg.UniqueViolationError as error:
        raise Conflict(f"there is already a session {info.id!r}, or one with its key", code="session_exists") from error
    await link.executemany(
        "INSERT INTO inbox (s, id, key, digest, accepted_at, taken, body, urgency)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        [(s, *item, item.urgency) for item in dump.inbox],
    )
    await link.executemany("INSERT INTO timers VALUES ($1, $2, $3, $4)", [(s, *timer) for timer in dump.timers])
    if dump.snapshot is not None:
        await link.execute("INSERT INTO snapshots VALUES ($1, $2, $3, $4)", s, *dump.snapshot)
    await keep(link, [(s, checkpoint) for checkpoint in dump.checkpoints])
    await link.execute("SELECT let_go_1(ARRAY[$1::bigint])", s)


async def _begin_space(link: Link, space: str) -> int:
    async with link.transaction():
        for name in (space, RESTORING + space):
            await link.execute("SELECT clear_space_1($1)", name)
        return await link.fetchval("SELECT space_1($1)", RESTORING + space)


async def _add_facts(link: Link, n: int, rows: list[StoredFact]) -> None:
    async with link.transaction():
        for row in rows:
            indexed = words_of(row.text, row.key)
            f = await link.fetchval(_INSERT, n, indexed, *row)
            if row.ended_version is None and not row.proposed:
                await link.execute(_INDEX, n, f, indexed)


class _Theirs(Exception):
    """Wraps an error of the source of the events, to tell it from errors of the database."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


async def _given(events: AsyncIterator[list[Record]]) -> AsyncIterator[list[Record]]:
    try:
        async for records in events:
            yield records
    except Exception as error:  # handed to the caller as it is
        raise _Theirs(error) from error
