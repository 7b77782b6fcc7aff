"""The one thread that writes: it takes every waiting operation into one transaction and commits them together."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeAlias, TypeVar

from roost.errors import RoostError, StoreFailed
from roost.log.journal import Change
from roost.log.sqlite.group import Group
from roost.log.sqlite.schema import connect, failure, prepare
from roost.log.store import Durability

T = TypeVar("T")
Operation: TypeAlias = "Callable[[sqlite3.Connection, Group], T]"
"""Runs inside the shared transaction. It checks before its first write: a `RoostError` must leave nothing behind."""

_LARGEST_GROUP = 1024


class _Job(NamedTuple):
    run: Operation[Any]
    future: asyncio.Future[Any]


class _Done(NamedTuple):
    future: asyncio.Future[Any]
    result: Any
    error: Exception | None


class Writer:
    """Operations are applied in the order of `submit`. `on_commit` runs on the loop, before the callers go on, with the
    changes of one committed group. `on_full` runs in the thread when the disk is full: whether it made room."""

    def __init__(
        self,
        path: Path,
        durability: Durability,
        on_commit: Callable[[list[Change]], None],
        on_full: Callable[[], bool],
    ) -> None:
        self._path = path
        self._durability: Durability = durability
        self._on_commit = on_commit
        self._on_full = on_full
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[list[_Job] | None] = SimpleQueue()
        self._gathered: list[_Job] = []
        self._closed = False
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
        self._gathered.append(_Job(operation, future))
        return future

    def _hand_over(self) -> None:
        """What all tasks of one pass of the loop submitted goes over together: one wake-up, one commit."""
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []

    async def close(self) -> None:
        """Commit what is queued, then close the file."""
        if not self._closed:
            self._closed = True
            self._hand_over()
            self._queue.put(None)
        if self._thread.ident is not None:  # else it was never opened
            await asyncio.to_thread(self._thread.join)

    def _main(self) -> None:
        try:
            connection = connect(self._path, self._durability)
            try:
                prepare(connection)
            except BaseException:
                connection.close()
                raise
        except (sqlite3.Error, RoostError, OSError) as error:
            problem = failure(error) if isinstance(error, sqlite3.Error) else error
            self._loop.call_soon_threadsafe(self._opened.set_exception, problem)
            return
        self._loop.call_soon_threadsafe(self._opened.set_result, None)
        with contextlib.closing(connection):
            while self._serve(connection):
                pass

    def _serve(self, connection: sqlite3.Connection) -> bool:
        jobs: list[_Job] = []
        more = self._queue.get()
        while more is not None:
            jobs += more
            if len(jobs) >= _LARGEST_GROUP or self._queue.empty():
                break
            more = self._queue.get()  # the only consumer: what is not empty answers at once
        if jobs:
            self._group(connection, jobs)
        return more is not None

    def _group(self, connection: sqlite3.Connection, jobs: Sequence[_Job]) -> None:
        group = Group(connection, self._numbers)
        try:
            done = _transact(connection, jobs, group)
        except Exception as error:
            _rollback(connection)
            self._numbers.clear()  # numbers that the rollback took back may be given again
            if _is(error, sqlite3.SQLITE_FULL) and self._on_full():
                self._group(connection, jobs)
                return
            if len(jobs) > 1 and not _is(error, sqlite3.SQLITE_BUSY):
                for job in jobs:  # one of them may be at fault: let each stand for itself
                    self._group(connection, [job])
                return
            problem = failure(error) if isinstance(error, sqlite3.Error) else error
            self._finish([_Done(job.future, None, problem) for job in jobs], [])
            return
        self._finish(done, group.changes)

    def _finish(self, done: list[_Done], changes: list[Change]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is waiting any more
            self._loop.call_soon_threadsafe(self._settle, done, changes)

    def _settle(self, done: list[_Done], changes: list[Change]) -> None:
        if changes:
            self._on_commit(changes)
        for future, result, error in done:
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


def _transact(connection: sqlite3.Connection, jobs: Sequence[_Job], group: Group) -> list[_Done]:
    done: list[_Done] = []
    connection.execute("BEGIN IMMEDIATE")
    for job in jobs:
        try:
            done.append(_Done(job.future, job.run(connection, group), None))
        except RoostError as error:
            done.append(_Done(job.future, None, error))
    group.store_events()
    connection.execute("COMMIT")
    return done


def _is(error: Exception, code: int) -> bool:
    """BUSY: another program has held the file for as long as SQLite waits. That is nobody's fault here, and lasts."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF == code


def _rollback(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")
