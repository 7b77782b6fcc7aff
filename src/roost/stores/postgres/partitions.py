"""Partitions of the events table, each for a range of sessions: created ahead of need, dropped when all its sessions
are deleted."""

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
"""Time limit of `drop_empty`, which waits for transactions that use the detached table."""
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
    """Make sure that partitions exist for at least half a partition of further sessions. Returns the session number at
    which to call this again. Does not block writers: a table is created separately and attached under a lock that they
    tolerate."""
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
    """Run `make`, which numbers a new session. Repeat it if so many sessions were created at once that no partition
    exists for it."""
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
    """Drop partitions whose sessions are all deleted, except the newest two. Returns their names. The next call
    finishes what a crash interrupted."""
    if not await link.fetchval(_DROPPING):
        return []  # another node does it now
    try:
        dropped = [name for first, past, name in await link.fetch(_EMPTY) if await _drop(link, first, past, name)]
    finally:
        if not link.is_closed():
            await link.fetchval(_DROPPED)
    return dropped


async def _drop(link: Link, first: int, past: int, name: str) -> bool:
    await _detach(link, name)
    if await link.fetchval("SELECT EXISTS (SELECT FROM sessions WHERE s >= $1 AND s < $2)", first, past):
        # A long restore had reserved a number in this range, and has finished meanwhile.
        await link.execute(f"ALTER TABLE events ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({past})")
        await link.execute("UPDATE partitions SET dropping = false WHERE first = $1", first)
        return False
    await link.execute(f"DROP TABLE IF EXISTS {name}")
    await link.execute("DELETE FROM partitions WHERE first = $1", first)
    log.info("events of deleted sessions: dropped the table %s", name)
    return True


async def _detach(link: Link, name: str) -> None:
    """Detach a partition. Without CONCURRENTLY this would lock out all readers and writers of events."""
    pending = await link.fetchval(
        "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass($1) AND inhparent = 'events'::regclass",
        name,
    )
    if pending is None:
        return
    how = "FINALIZE" if pending else "CONCURRENTLY"
    try:
        await link.execute(f"ALTER TABLE events DETACH PARTITION {name} {how}")
    except asyncpg.ObjectNotInPrerequisiteStateError:  # an earlier detach was interrupted
        await link.execute(f"ALTER TABLE events DETACH PARTITION {name} FINALIZE")
