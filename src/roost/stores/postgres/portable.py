"""Dump a session's content from the database, and restore it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec

from roost.errors import Conflict, Invalid, NotFound
from roost.log.portable import SessionDump, StoredInput, StoredTimer
from roost.log.protocols import CheckpointRow, Record, Snapshot
from roost.stores.postgres import rows
from roost.stores.postgres.append_effects import keep
from roost.stores.postgres.database import Link, Pool

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
_CHECKPOINTS = """
SELECT seq, label, made_at, cause, files, memory, version, body FROM checkpoints WHERE s = $1 ORDER BY seq"""
_encode_json = msgspec.json.Encoder().encode


async def sessions(pool: Pool, count: int = 1000) -> AsyncIterator[str]:
    after = 0
    while found := await _page(pool, after, count):
        for _, name in found:
            yield name
        after = found[-1][0]


async def _page(pool: Pool, after: int, count: int) -> list[Any]:
    return await pool.run(
        lambda link: link.fetch("SELECT s, id FROM sessions WHERE s > $1 ORDER BY s LIMIT $2", after, count)
    )


async def dump(pool: Pool, session: str) -> SessionDump:
    async def ask(link: Link) -> SessionDump:
        async with link.transaction(isolation="repeatable_read", readonly=True):
            return await _dump(link, session)

    return await pool.run(ask, seconds=_DUMP_SECONDS)


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


async def restore(pool: Pool, dump: SessionDump, events: AsyncIterator[list[Record]]) -> None:
    """Restore in one transaction, however long, so that an interruption leaves nothing."""

    async def write(link: Link) -> None:
        async with link.transaction():
            await _restore(link, dump, events)

    try:
        await pool.do(write, repeat=False, seconds=_RESTORE_SECONDS)  # `do`: must end with its caller
    except _Theirs as theirs:
        raise theirs.error from theirs


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
