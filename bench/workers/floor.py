"""The floor: a bare group commit. A thread takes every waiting write into one transaction (WAL, synchronous=FULL): an
insert of about 1 KB and a fenced update of the head for each: `single` as statements of their own, else batched for
the whole group. No inbox, no state, no policy, no events to read."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from bench.payload import RESULT
from bench.worker import Clock, Ticks, serve

_MOVE = "UPDATE sessions SET head = head + 1 WHERE s = ? AND epoch = 1 AND head = ?"
_INSERT = "INSERT INTO events (s, seq, body) VALUES (?, ?, ?)"

Job = tuple[int, int, bytes, "asyncio.Future[None]"]


class Store:
    def __init__(self, path: Path, sessions: int, single: bool) -> None:
        self._put = self._singly if single else self._together
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self.commits = 0
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, s INTEGER, seq INTEGER, body BLOB)")
        self._db.execute("CREATE UNIQUE INDEX position ON events (s, seq)")
        self._db.execute("CREATE TABLE sessions (s INTEGER PRIMARY KEY, epoch INTEGER, head INTEGER)")
        self._db.executemany("INSERT INTO sessions VALUES (?, 1, 0)", [(s,) for s in range(sessions)])
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def append(self, s: int, head: int, body: bytes) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.put((s, head, body, future))
        return future

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()
        self._db.close()

    def _write(self) -> None:
        while True:
            jobs = [self._queue.get()]
            while not self._queue.empty():
                jobs.append(self._queue.get())
            group = [job for job in jobs if job is not None]
            if group:
                self._commit(group)
            if len(group) < len(jobs):
                return

    def _commit(self, group: list[Job]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._put(group)
        self._db.execute("COMMIT")
        self.commits += 1
        self._loop.call_soon_threadsafe(_settle, group)

    def _together(self, group: list[Job]) -> None:
        moved = self._db.executemany(_MOVE, [(s, head) for s, head, _, _ in group])
        assert moved.rowcount == len(group), "a write was fenced off"
        self._db.executemany(_INSERT, [(s, head + 1, body) for s, head, body, _ in group])

    def _singly(self, group: list[Job]) -> None:
        for s, head, body, _ in group:
            assert self._db.execute(_MOVE, (s, head)).rowcount == 1, "a write was fenced off"
            self._db.execute(_INSERT, (s, head + 1, body))


def _settle(group: list[Job]) -> None:
    for _, _, _, future in group:
        future.set_result(None)


async def run(folder: Path, sessions: int, steps: int, single: bool = False) -> dict[str, Any]:
    store, ticks, body = Store(folder / "floor.db", sessions, single), Ticks(), RESULT.encode()

    async def session(s: int) -> None:
        for head in range(steps):
            if sessions == 1:
                ticks.tick()
            await store.append(s, head, body)

    clock = Clock()
    await asyncio.gather(*(session(s) for s in range(sessions)))
    spent = clock.stop()
    store.close()
    return {**spent, "steps": sessions * steps, "commits": store.commits, "ms": ticks.milliseconds()}


if __name__ == "__main__":
    serve(lambda folder, order: asyncio.run(run(folder, **order)))
