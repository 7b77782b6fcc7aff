"""Work in the background: partitions ahead of need, and the removal of deleted sessions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from roost.errors import StoreFailed
from roost.stores.postgres import partitions
from roost.stores.postgres.database import Link, Pool

log = logging.getLogger("roost.journal")
PURGEABLE = """
SELECT s FROM garbage g WHERE head > coalesce((SELECT max(upto) FROM lineage l WHERE l.base = g.s), 0) OR head = 0"""
"""Deleted sessions with more events than forks need."""


class Upkeep:
    """Keeps the tables in shape while the store is open."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._tasks: set[asyncio.Task[None]] = set()
        self._room_until = 0
        self._making_room = False

    async def start(self, link: Link) -> None:
        """Begin, on a connection of the caller."""
        self._room_until = await partitions.ensure(link)
        for (s,) in await link.fetch(PURGEABLE):
            self.purge_later(s)
        self._later(self._drop_empty())

    def made(self, s: int) -> None:
        """Make room in time for the sessions after number `s`."""
        if s > self._room_until and not self._making_room:
            self._making_room = True
            self._later(self._make_room())

    async def make_room(self) -> None:
        self._room_until = await self._pool.run(partitions.ensure)

    def purge_later(self, s: int) -> None:
        self._later(self._purge(s))

    async def purge_all(self) -> None:
        for (s,) in await self._pool.run(lambda link: link.fetch(PURGEABLE)):
            await self._purge(s)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _make_room(self) -> None:
        try:
            await self.make_room()
        finally:
            self._making_room = False
        await self._drop_empty()

    async def _drop_empty(self) -> None:
        await self._pool.run(partitions.drop_empty, repeat=False, seconds=partitions.DROP_SECONDS)

    async def _purge(self, s: int, count: int = 2000) -> None:
        """Remove what no fork needs of a deleted session, and of the deleted sessions that it was forked from."""
        following: int | None = s
        while following is not None:
            following = await self._pool.run(
                lambda link, s=following: link.fetchval("SELECT purge_2($1, $2)", s, count)
            )

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        async def run() -> None:
            try:
                await work
            except StoreFailed as error:  # the next start retries it
                log.warning("left for later: %s", error)

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
