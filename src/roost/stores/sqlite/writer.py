"""The one writing thread: it runs all waiting operations in one transaction and commits them together."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar

from roost.errors import RoostError, StoreFailed, StoreLost
from roost.log.protocols import Change
from roost.log.store import Durability
from roost.stores.sqlite.commit_group import Group
from roost.stores.sqlite.file_watch import Presence
from roost.stores.sqlite.schema import connect, failure, prepare

T = TypeVar("T")
Operation: TypeAlias = Callable[[Group], T]
"""Runs inside the shared transaction. It checks before its first write, because a `RoostError` must leave no trace."""

_Job: TypeAlias = "tuple[Operation[Any], asyncio.Future[Any]]"
_LARGEST_GROUP = 1024


class Writer:
    """Applies operations in the order of `submit`. on_commit: runs on the event loop, before the callers continue, with
    the changes of one committed group. on_full: runs in the thread when the disk is full; returns whether it freed
    space."""

    def __init__(
        self,
        path: Path,
        durability: Durability,
        presence: Presence,
        on_commit: Callable[[list[Change]], None],
        on_full: Callable[[], bool],
    ) -> None:
        self._path = path
        self._presence = presence
        self._durability: Durability = durability
        self._on_commit = on_commit
        self._on_full = on_full
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[list[_Job] | None] = SimpleQueue()
        self._gathered: list[_Job] = []
        self._apart: deque[tuple[Callable[[sqlite3.Connection], Any], asyncio.Future[Any]]] = deque()
        self._closed = self._over = False
        self._numbers: dict[str, int] = {}
        self._thread = threading.Thread(target=self._main, name="roost-journal", daemon=True)

    async def open(self) -> None:
        """Open or create the file. Raises `StoreFailed`."""
        opened: asyncio.Future[None] = self._loop.create_future()
        self._opened = opened
        self._thread.start()
        await opened

    def submit(self, operation: Operation[T]) -> asyncio.Future[T]:
        """Queue an operation. The future ends after the commit; cancelling it does not undo the write."""
        if self._closed:
            raise StoreFailed("the journal is closed", code="store_closed")
        future: asyncio.Future[T] = self._loop.create_future()
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append((operation, future))
        return future

    def apart(self, operation: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Like `submit`, but runs between two groups and outside any transaction, for statements that SQLite refuses in
        one."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._apart.append((operation, future))
        self.submit(lambda group: None)  # wakes the thread
        return future

    def _hand_over(self) -> None:
        """Hand over all operations that tasks submitted in one pass of the loop: one wake-up, one commit."""
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []

    async def close(self) -> None:
        """Commit queued operations, then close the file."""
        if not self._closed:
            self._closed = True
            self._hand_over()
            self._queue.put(None)
        if self._thread.ident is not None:  # None if never opened
            await asyncio.to_thread(self._thread.join)

    def _main(self) -> None:
        try:
            self._presence.before_open()
            connection = connect(self._path, self._durability)
            try:
                self._presence.same_store(connection)
                prepare(connection)
                self._presence.opened(connection)
            except BaseException:
                connection.close()
                raise
        except Exception as error:  # any error: the caller of `open` must get it
            problem = failure(error) if isinstance(error, sqlite3.Error) else error
            self._loop.call_soon_threadsafe(self._opened.set_exception, problem)
            return
        self._loop.call_soon_threadsafe(self._opened.set_result, None)
        with contextlib.closing(connection):
            while not self._over:
                jobs: list[_Job] = []
                self._take(jobs)
                if jobs:
                    self._group(connection, jobs)
                while self._apart:
                    self._run_apart(connection, *self._apart.popleft())
            self._presence.closing(connection)

    def _run_apart(
        self, connection: sqlite3.Connection, run: Callable[[sqlite3.Connection], Any], future: asyncio.Future[Any]
    ) -> None:
        try:
            result: object = run(connection)
        except Exception as error:  # any error: it goes to the caller
            result = failure(error) if isinstance(error, sqlite3.Error) else error
        job: _Job = (lambda group: None, future)
        self._finish([job], [result], [])

    def _take(self, jobs: list[_Job]) -> None:
        """Take the next batch and all batches queued behind it; None ends the thread."""
        more = self._queue.get()
        while more is not None:
            jobs += more
            if len(jobs) >= _LARGEST_GROUP or self._queue.empty():
                return
            more = self._queue.get()  # the only consumer: a queue that is not empty answers at once
        self._over = True

    def _joined(self, jobs: list[_Job]) -> bool:
        """Whether operations arrived while the group was written; they join its commit. This synchronizes tasks that
        would otherwise alternate with one commit each."""
        if self._over or len(jobs) >= _LARGEST_GROUP or self._queue.empty():
            return False
        before = len(jobs)
        self._take(jobs)
        return len(jobs) > before

    def _group(self, connection: sqlite3.Connection, jobs: list[_Job], *, alone: bool = False) -> None:
        group = Group(connection, self._numbers)
        try:
            done = self._transact(connection, jobs, group, alone=alone)
        except StoreLost:
            _rollback(connection)
            self._finish(jobs, [self._presence.rescue(connection)] * len(jobs), [])
            return
        except Exception as error:
            _rollback(connection)
            self._numbers.clear()  # rolled-back numbers may be reused
            if _is(error, sqlite3.SQLITE_FULL) and self._on_full():
                self._group(connection, jobs, alone=alone)
                return
            if len(jobs) > 1 and not _is(error, sqlite3.SQLITE_BUSY):
                for job in jobs:  # one may be at fault: run each alone
                    self._group(connection, [job], alone=True)
                return
            problem = failure(error) if isinstance(error, sqlite3.Error) else error
            self._finish(jobs, [problem] * len(jobs), [])
            return
        self._finish(jobs, done, group.changes)

    def _transact(self, connection: sqlite3.Connection, jobs: list[_Job], group: Group, *, alone: bool) -> list[object]:
        """Run the operations and commit. Returns the result of each, or the `RoostError` that it raised."""
        done: list[object] = []
        connection.execute("BEGIN IMMEDIATE")
        while True:
            for run, _ in jobs[len(done) :]:
                try:
                    done.append(run(group))
                except RoostError as error:
                    done.append(error)
            group.store_events()
            if alone or not self._joined(jobs):
                break
        self._presence.check(connection)
        connection.execute("COMMIT")
        return done

    def _finish(self, jobs: list[_Job], done: list[object], changes: list[Change]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: no caller waits
            self._loop.call_soon_threadsafe(self._settle, jobs, done, changes)

    def _settle(self, jobs: list[_Job], done: list[object], changes: list[Change]) -> None:
        if changes:
            self._on_commit(changes)
        for (_, future), result in zip(jobs, done, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)


def _is(error: Exception, code: int) -> bool:
    """Whether the error has this code. BUSY means that another program held the file for SQLite's whole timeout: no
    operation of the group is at fault, and a retry would fail too."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF == code


def _rollback(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")
