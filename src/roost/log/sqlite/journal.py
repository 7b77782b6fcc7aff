"""`SqliteJournal`: the embedded implementation of the Journal protocol."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from roost.errors import NotFound, StoreCorrupt, StoreFailed
from roost.locks import Locks
from roost.log.dispatch import NodeCard
from roost.log.events import Event
from roost.log.inputs import Input
from roost.log.journal import (
    Accepted,
    Append,
    Change,
    Claim,
    InboxItem,
    NewSession,
    Record,
    SessionInfo,
    SessionQuery,
    Snapshot,
)
from roost.log.sqlite import operations, rows
from roost.log.sqlite.schema import connect, data_version, failure
from roost.log.sqlite.writer import Writer
from roost.log.store import Durability
from roost.log.tail import follow
from roost.log.watchers import Watchers

T = TypeVar("T")
log = logging.getLogger("roost.journal")
_POLL_SECONDS = 0.2


class SqliteJournal:
    """One database file. Open it with `await SqliteJournal.open(path)`.

    Several processes may open the same file; changes of another process are noticed within 0.2 s.
    """

    def __init__(self, path: Path, durability: Durability) -> None:
        self._path = path
        self._watchers = Watchers()
        self._nodes = Locks(path.with_name(path.name + ".nodes"))
        self._writer = Writer(path, durability, self._watchers.publish)
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="roost-reader")
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._background: set[asyncio.Task[None]] = set()
        self._poller: asyncio.TimerHandle | None = None
        self._closed = False

    @classmethod
    async def open(cls, path: str | Path, *, durability: Durability = "full") -> SqliteJournal:
        """Open or create the file. Raises `StoreFailed` when that cannot be done."""
        journal = cls(Path(path), durability)
        try:
            journal._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreFailed(f"cannot make {str(journal._path.parent)!r}: {error}") from error
        await journal._writer.open()
        try:
            await journal._start()
        except BaseException:
            await journal.close()
            raise
        return journal

    async def create(self, session: NewSession, events: Sequence[Event], *, key: str | None = None) -> SessionInfo:
        return await self._writer.submit(lambda c, out: operations.create(c, out, session, events, key))

    async def append(self, append: Append) -> int:
        return await self._writer.submit(lambda c, out: operations.append(c, out, append))

    async def accept(self, session: str, item: Input, *, key: str | None = None) -> Accepted:
        return await self._writer.submit(lambda c, out: operations.accept(c, out, session, item, key))

    async def claim(self, node: str, *, session: str | None = None, limit: int = 64) -> list[Claim]:
        try:
            return await self._claim(node, session, limit)
        except (StoreCorrupt, msgspec.MsgspecError) as error:
            return await self._claim_apart(node, [session] if session else None, limit, error)

    async def beat(self, card: NodeCard, *, ttl: float) -> None:
        self._nodes.hold(card.id)
        await self._writer.submit(lambda c, out: operations.beat(c, out, card.id, time.monotonic() + ttl))

    async def leave(self, node: str) -> None:
        await self._writer.submit(lambda c, out: operations.leave(c, out, node))
        self._nodes.drop(node)

    async def fire(self, now: float, *, limit: int = 1000) -> float | None:
        return await self._writer.submit(lambda c, out: operations.fire(c, out, now, limit))

    async def delete(self, session: str, *, epoch: int | None = None) -> None:
        dead = self._is_dead
        s = await self._writer.submit(lambda c, out: operations.delete(c, out, session, epoch, dead))
        self._purge_later(s)

    async def read(self, session: str, *, after: int = 0, limit: int = 1000) -> list[Record]:
        return await self._read(lambda c: rows.page(c, rows.number(c, session), after, limit))

    async def pending(self, session: str) -> list[InboxItem]:
        return await self._read(lambda c: rows.inbox(c, rows.number(c, session)))

    async def snapshot(self, session: str) -> Snapshot | None:
        return await self._read(lambda c: rows.snapshot(c, rows.number(c, session)))

    async def get(self, session: str) -> SessionInfo:
        def one(connection: sqlite3.Connection) -> SessionInfo:
            row = connection.execute(f"SELECT {rows.INFO_COLUMNS} FROM sessions WHERE id = ?", (session,)).fetchone()
            if row is None:
                raise NotFound(f"there is no session {session!r}")
            return rows.info(row)

        return await self._read(one)

    async def find(self, query: SessionQuery) -> list[SessionInfo]:
        sql, values = rows.find(query)
        return await self._read(lambda c: [rows.info(row) for row in c.execute(sql, values)])

    def tail(self, session: str, *, after: int = 0) -> AsyncIterator[Record]:
        return follow(self, session, after)

    def watch(self, listener: Callable[[Change], None], *, session: str | None = None) -> Callable[[], None]:
        return self._watchers.add(listener, session)

    async def close(self) -> None:
        """Commit what is queued, then let go of everything. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        if self._poller is not None:
            self._poller.cancel()
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._writer.close()
        await asyncio.to_thread(self._readers.shutdown)
        for connection in self._connections:
            connection.close()
        self._nodes.close()
        self._watchers.close()

    async def _claim(self, node: str, session: str | None, limit: int) -> list[Claim]:
        dead = self._is_dead
        return await self._writer.submit(lambda c, out: operations.claim(c, out, node, session, limit, dead))

    async def _claim_apart(
        self, node: str, sessions: list[str] | None, limit: int, error: StoreCorrupt | msgspec.MsgspecError
    ) -> list[Claim]:
        """Damage in one session's rows must not keep the others from running. Each in a commit of its own: after a
        damaged page was met SQLite lets a transaction write nothing more."""
        if sessions is None:
            dead = self._is_dead
            sessions = await self._writer.submit(lambda c, out: operations.ready(c, out, node, limit, dead))
        if not sessions:
            raise error
        claims: list[Claim] = []
        for session in sessions:
            try:
                claims += await self._claim(node, session, 1)
            except (StoreCorrupt, msgspec.MsgspecError) as damage:
                log.error("session %s is damaged and set aside: %s", session, damage)
                await self._writer.submit(lambda c, out, s=session: operations.set_aside(c, out, s))
        return claims

    def _is_dead(self, node: str, alive_until: float) -> bool:
        """`alive_until` is on this machine's monotonic clock, which steps of the wall clock do not move."""
        return self._nodes.is_free(node) or alive_until < time.monotonic()

    async def _start(self) -> None:
        self._poll_connection = self._connect()
        self._version = data_version(self._poll_connection)
        self._elsewhere = await self._writer.submit(lambda c, out: data_version(c))
        for (s,) in self._poll_connection.execute("SELECT s FROM garbage").fetchall():
            self._purge_later(s)
        self._poll_later()

    def _connect(self) -> sqlite3.Connection:
        connection = connect(self._path, "full")
        connection.execute("PRAGMA query_only = 1")
        self._connections.append(connection)
        return connection

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            try:
                if not hasattr(self._local, "connection"):
                    self._local.connection = self._connect()
                return query(self._local.connection)
            except sqlite3.Error as error:
                raise failure(error) from error

        if self._closed:
            raise StoreFailed("the journal is closed", code="store_closed")
        return await asyncio.get_running_loop().run_in_executor(self._readers, run)

    def _poll_later(self) -> None:
        self._poller = asyncio.get_running_loop().call_later(_POLL_SECONDS, self._poll)

    def _poll(self) -> None:
        """Notice that somebody wrote. Reads the shared header of the file, a few microseconds. Whether it was another
        process only the writer's connection can tell: to it, its own commits are no change."""
        try:
            version = data_version(self._poll_connection)
            if version != self._version:
                self._version = version
                self._writer.submit(lambda c, out: data_version(c)).add_done_callback(self._compare)
        except sqlite3.Error:  # busy or damaged: whoever reads or writes next hears of it
            pass
        self._poll_later()

    def _compare(self, found: asyncio.Future[int]) -> None:
        if found.cancelled() or found.exception() is not None:
            self._version = -1  # ask again with the next poll
        elif found.result() != self._elsewhere:
            self._elsewhere = found.result()
            self._watchers.publish([Change("", None, None)])

    def _purge_later(self, s: int) -> None:
        async def purge() -> None:
            while not await self._writer.submit(lambda c, out: operations.purge(c, out, s)):
                pass

        task = asyncio.create_task(purge())
        self._background.add(task)
        task.add_done_callback(self._background.discard)
