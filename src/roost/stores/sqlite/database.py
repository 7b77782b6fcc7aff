"""One database file: its writer, its readers, and detection of writes by other processes."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import CoroutineType
from typing import Any, Concatenate, ParamSpec, TypeVar

from roost.errors import StoreFailed
from roost.locks import Locks
from roost.log.commit_watchers import Watchers
from roost.log.protocols import Change
from roost.log.store import Durability
from roost.stores.sqlite import deletion
from roost.stores.sqlite.commit_group import Group
from roost.stores.sqlite.file_watch import Presence
from roost.stores.sqlite.schema import connect, data_version, failure
from roost.stores.sqlite.writer import Operation, Writer

S = TypeVar("S", bound="Part")
T = TypeVar("T")
P = ParamSpec("P")
_POLL_SECONDS = 0.2
LARGEST_REWRITE = 512 * 1024**2
"""Limit in bytes for rewriting a file in use. A rewrite blocks other writes, which must not wait longer than some
seconds."""
_CHECKPOINTS = 25
"""Tries to empty the write-ahead log."""


class SqliteDatabase:
    """One open file. Writes go through `write`, in order. Reads go through `read`, on their own connections, and see
    committed data. `watchers` are notified of every commit, within 0.2 s if another process made it. on_full: as in
    `open_store`. nodes: a lock per node, which the system drops when the node's process dies."""

    def __init__(self, path: Path, durability: Durability, on_full: Callable[[], bool]) -> None:
        self.watchers = Watchers()
        self.nodes = Locks(path.with_name(path.name + ".nodes"))
        self._path = path
        self._presence = Presence(path)
        self.on_elsewhere: Callable[[], None] = lambda: None
        """Called on the event loop after a commit of another process."""
        self._writer = Writer(path, durability, self._presence, self.watchers.publish, on_full)
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="roost-reader")
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._background: set[asyncio.Task[None]] = set()
        self._poller: asyncio.TimerHandle | None = None
        self._closed = False

    async def open(self) -> None:
        """Open or create the file. Raises `StoreFailed`; the caller must call `close` then, too."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreFailed(f"cannot make {str(self._path.parent)!r}: {error}") from error
        await self._writer.open()
        try:
            self._poll_connection = self._connect()
            self._version = data_version(self._poll_connection)
            garbage = deletion.garbage(self._poll_connection)
        except sqlite3.Error as error:
            raise failure(error) from error
        self._elsewhere = await self.write(lambda group: data_version(group.connection))
        for s in garbage:
            self.purge_later(s)
        self._poll_later()

    def write(self, operation: Operation[T]) -> asyncio.Future[T]:
        """Queue an operation. The future ends after the commit; cancelling it does not undo the write."""
        return self._writer.submit(operation)

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
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

    async def purge(self, s: int) -> None:
        """Remove the events of a deleted session piece by piece, except those that forks need."""
        following: int | None = s
        while following is not None:
            following = await self.write(lambda group, s=following: deletion.purge(group, s))

    async def scrub(self, compact: Callable[[sqlite3.Connection], None]) -> tuple[str, ...]:
        """Rewrite the file without deleted data, in the writer's thread, and empty the write-ahead log. Returns the
        places that may still hold the data, each with what to do."""
        left = ["copies and backups of the database: delete those that are older than this purge"]
        size = self._path.stat().st_size
        if size > LARGEST_REWRITE:
            left.append(f"free pages of the database, of {size >> 20} MiB: stop the daemon, then sqlite3 FILE VACUUM")
        else:
            await self._writer.apart(compact)
        for _ in range(_CHECKPOINTS):  # a reader may still use the old pages
            if await self._writer.apart(_emptied):
                return tuple(left)
            await asyncio.sleep(_POLL_SECONDS)
        return (*left, "the log beside the database, which another program is reading: purge again when it is done")

    def purge_later(self, s: int) -> None:
        self.later(self.purge(s))

    def later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do this in the background, until it ends or the store is closed."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def close(self) -> None:
        """Commit queued writes, then release everything. Safe to call twice."""
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
        await asyncio.to_thread(self._presence.closed)
        self.watchers.close()
        self.nodes.close()

    def is_dead(self, node: str, alive_until: float) -> bool:
        """Whether a node is dead. alive_until: on this machine's monotonic clock, so that steps of the wall clock do
        not matter."""
        return self.nodes.is_free(node) or alive_until < time.monotonic()

    def owner_is_dead(self, connection: sqlite3.Connection, owner: str) -> bool:
        row = connection.execute("SELECT alive_until FROM nodes WHERE id = ?", (owner,)).fetchone()
        return row is None or self.is_dead(owner, row[0])

    def _connect(self) -> sqlite3.Connection:
        self._presence.still_there()
        connection = connect(self._path, "full")
        connection.execute("PRAGMA query_only = 1")
        self._connections.append(connection)
        return connection

    def _poll_later(self) -> None:
        self._poller = asyncio.get_running_loop().call_later(_POLL_SECONDS, self._poll)

    def _poll(self) -> None:
        """Detect commits. Reads the shared header of the file, which takes a few microseconds. Only the writer's
        connection can tell commits of other processes from this one's: its own commits do not change its data
        version."""
        try:
            version = data_version(self._poll_connection)
            if version != self._version:
                self._version = version
                self.write(lambda group: data_version(group.connection)).add_done_callback(self._compare)
        except sqlite3.Error:  # busy or damaged: the next read or write reports it
            pass
        self._poll_later()

    def _compare(self, found: asyncio.Future[int]) -> None:
        if found.cancelled() or found.exception() is not None:
            self._version = -1  # ask again with the next poll
        elif found.result() != self._elsewhere:
            self._elsewhere = found.result()
            self.watchers.publish([Change("", None, None)])
            self.on_elsewhere()


class Part:
    """One object of the store, over the database that all of them share."""

    def __init__(self, database: SqliteDatabase) -> None:
        self.database = database


def writes(
    operation: Callable[Concatenate[S, Group, P], T],
) -> Callable[Concatenate[S, P], CoroutineType[Any, Any, T]]:
    """Make a method of a function that runs in the writer's thread, inside the transaction that the group shares. It
    must check before its first write, because a `RoostError` must leave no trace."""

    @functools.wraps(operation)
    async def method(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.database.write(lambda group: operation(self, group, *args, **kwargs))

    return method


def reads(
    query: Callable[Concatenate[S, sqlite3.Connection, P], T],
) -> Callable[Concatenate[S, P], CoroutineType[Any, Any, T]]:
    """Make a method of a function that runs in a reader's thread, on that thread's connection."""

    @functools.wraps(query)
    async def method(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.database.read(lambda connection: query(self, connection, *args, **kwargs))

    return method


def _emptied(connection: sqlite3.Connection) -> bool:
    """Whether the write-ahead log could be moved into the database and truncated."""
    busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy
