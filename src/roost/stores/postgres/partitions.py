"""The tables that the events are in, each for so many sessions: made ahead of need, dropped when all are gone."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from roost.stores.postgres.database import Link

T = TypeVar("T")
_TRIES = 20
log = logging.getLogger("roost.journal")
_TURN = "SELECT pg_advisory_xact_lock(hashtextextended('roost partitions ' || current_schema(), 0))"
_DROPPING = "SELECT pg_try_advisory_lock(hashtextextended('roost drops ' || current_schema(), 0))"
_DROPPED = "SELECT pg_advisory_unlock(hashtextextended('roost drops ' || current_schema(), 0))"
DROP_SECONDS = 60.0
"""For `drop_empty`: it waits for transactions that use what it detaches."""
_EMPTY = """
UPDATE partitions p SET dropping = true
WHERE first < (SELECT max(first) FROM partitions WHERE first < (SELECT max(first) FROM partitions))
    AND past <= (SELECT last_value FROM sessions_s_seq)
    AND NOT EXISTS (SELECT FROM sessions WHERE s >= p.first AND s < p.past)
    AND NOT EXISTS (SELECT FROM garbage WHERE s >= p.first AND s < p.past) RETURNING first, past, name"""
_NEWEST = "SELECT coalesce(max(past), 1), (SELECT partition_sessions FROM store) FROM partitions"
_PLACE = (
    "SELECT greatest((SELECT coalesce(max(s), 0) FROM sessions), (SELECT coalesce(last_value, 0) FROM sessions_s_seq))"
)


async def ensure(link: Link) -> int:
    """Make sure that there is room for half a partition of sessions more. Returns the number of a session at which to
    ask again. Writers go on: a table is made on its own and attached under a lock that does not stand in their way."""
    newest = await link.fetchval(_PLACE)
    while True:
        past, size = await link.fetchrow(_NEWEST) or (1, 1)
        if past > newest + size // 2:
            return past - size // 2 - 1
        async with link.transaction():
            await link.execute(_TURN)
            past, size = await link.fetchrow(_NEWEST) or (1, 1)
            if past <= newest + size // 2:
                await _make(link, past, past + size)


async def with_room(link: Link, make: Callable[[], Awaitable[T]]) -> T:
    """The result of `make`, which gives a session its number: again when so many were made at once that there is no
    partition for it yet."""
    for _ in range(_TRIES):
        try:
            return await make()
        except asyncpg.CheckViolationError:
            await ensure(link)
    return await make()


async def _make(link: Link, first: int, past: int) -> None:
    name = f"events_{first}"
    await link.execute(f"CREATE TABLE {name} (LIKE events INCLUDING ALL)")
    await link.execute(f"ALTER TABLE events ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({past})")
    await link.execute("INSERT INTO partitions VALUES ($1, $2, $3)", first, past, name)


async def drop_empty(link: Link) -> list[str]:
    """Drop the partitions all of whose sessions are deleted, but the newest two. Returns their names. A crash in the
    middle is made good by the next call."""
    if not await link.fetchval(_DROPPING):
        return []  # another node is at it
    try:
        dropped = [name for first, past, name in await link.fetch(_EMPTY) if await _drop(link, first, past, name)]
    finally:
        if not link.is_closed():
            await link.fetchval(_DROPPED)
    return dropped


async def _drop(link: Link, first: int, past: int, name: str) -> bool:
    await _detach(link, name)
    if await link.fetchval("SELECT EXISTS (SELECT FROM sessions WHERE s >= $1 AND s < $2)", first, past):
        # A session that had its number for long, while it was being restored, has come after all.
        await link.execute(f"ALTER TABLE events ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({past})")
        await link.execute("UPDATE partitions SET dropping = false WHERE first = $1", first)
        return False
    await link.execute(f"DROP TABLE IF EXISTS {name}")
    await link.execute("DELETE FROM partitions WHERE first = $1", first)
    log.info("events of deleted sessions: dropped the table %s", name)
    return True


async def _detach(link: Link, name: str) -> None:
    """CONCURRENTLY: the other way locks out everybody who reads or writes events."""
    pending = await link.fetchval(
        "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass($1) AND inhparent = 'events'::regclass",
        name,
    )
    if pending is None:
        return
    how = "FINALIZE" if pending else "CONCURRENTLY"
    try:
        await link.execute(f"ALTER TABLE events DETACH PARTITION {name} {how}")
    except asyncpg.ObjectNotInPrerequisiteStateError:  # another one was cut off in the middle of the same
        await link.execute(f"ALTER TABLE events DETACH PARTITION {name} FINALIZE")
