"""One llama.cpp worker per weights file and process: started at first use, fed from a queue, ended when idle."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import socket
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import msgspec

from roost.errors import Busy, RoostError
from roost.local import cache, frames
from roost.local.library import EngineFailed
from roost.local.memory_budget import need_memory
from roost.local.process import Worker, WorkerEnded, readable
from roost.local.settings import Settings
from roost.local.tuning import Tuned, applied
from roost.models.request import Progress

Chunk = dict[str, Any]
_Item = Chunk | Progress | BaseException | None
_GRACE = 30.0
"""Seconds that a cancelled call may go on before its worker is killed: a batch of the prompt on a busy machine."""
_TRIES = 2


class Source(msgspec.Struct, frozen=True):
    """A weights file that is on this machine. `identity` names its content; `states` is the folder of its prefix
    states, None to keep none; `tuned` what a trial has found for it."""

    path: Path
    identity: str
    states: Path | None = None
    tuned: Tuned | None = None


Locate = Callable[[cache.Report], Source]


class _Abandoned(Exception):
    """Raised in the engine's thread when no caller waits for the call any more."""


class _Job:
    """One call. `deliver` hands an item to the caller's loop; None ends the call. A job without a body only starts the
    worker."""

    def __init__(self, call: frames.Call | None) -> None:
        self.call = call
        self.stopped = threading.Event()
        self.answered = False
        self.inbox: asyncio.Queue[_Item] = asyncio.Queue()
        self._loop = None if call is None else asyncio.get_running_loop()

    def deliver(self, item: _Item) -> None:
        if self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(self.inbox.put_nowait, item)
        except RuntimeError:  # the caller's loop is closed
            self.stopped.set()


def _closed() -> EngineFailed:
    return EngineFailed("the local model was closed", code="closed")


def _crashed(ended: WorkerEnded) -> EngineFailed:
    if ended.loading:
        return EngineFailed(
            f"the process of the local model ended while it loaded the weights ({ended}): is there enough memory?",
            code="load_failed",
        )
    return EngineFailed(f"the process of the local model ended in the middle of a call ({ended})", code="crashed")


class Engine:
    """Serves one weights file. `locate` brings the weights, in the engine's thread, and may take long.

    One call generates at a time, the others wait in order. All methods are for an event loop and do not block it;
    different loops may share an engine. The worker is a process: it is started again when it has ended, and a call
    that it had not begun to answer is made again.
    """

    def __init__(self, locate: Locate, settings: Settings) -> None:
        self._locate = locate
        self._settings = settings
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._jobs: deque[_Job] = deque()
        self._number = 0
        self._current: _Job | None = None
        self._closing = False
        self._thread: threading.Thread | None = None
        self._worker: Worker | None = None
        self._bell: socket.socket | None = None

    @property
    def loaded(self) -> bool:
        """Return whether the weights are in memory."""
        worker = self._worker
        return worker is not None and worker.loaded

    @property
    def pid(self) -> int | None:
        """Return the worker's process id, if it runs."""
        worker = self._worker
        return worker.pid if worker is not None else None

    def warm(self) -> None:
        """Start the worker, which loads while its caller does something else."""
        with self._lock:
            self._put(_Job(None))

    async def generate(
        self, body: dict[str, Any] | None, *, prefix: tuple[dict[str, str], ...] = (), conversation: str = ""
    ) -> AsyncGenerator[Chunk | Progress]:
        """Run a chat completion and yield its streamed chunks. Raises `EngineFailed`, `WeightsError`, `OutOfMemory`,
        `Busy`.

        Closing the iterator stops the generation at the next token or, while the prompt is read, within a batch of it.
        Progress comes first, if there is any; the first chunk is empty: the call's turn has come. `prefix` is the start
        of the body's messages that other conversations have too; `conversation` names the one of the call. Without a
        body only the prefix is read, and kept as a state."""
        job = self._submit(msgspec.Raw(msgspec.json.encode(body)), prefix, conversation)
        watch: asyncio.TimerHandle | None = None
        try:
            while (item := await job.inbox.get()) is not None:
                if watch is None and not isinstance(item, Progress):
                    watch = asyncio.get_running_loop().call_later(self._settings.deadline, self._expire, job)
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            job.stopped.set()
            self._ring()
            if watch is not None:
                watch.cancel()

    def _expire(self, job: _Job) -> None:
        message = f"the local model did not finish within {self._settings.deadline:.0f} s; raise ROOST_MODEL_DEADLINE"
        job.inbox.put_nowait(EngineFailed(message, code="deadline"))

    def _submit(self, body: msgspec.Raw, prefix: tuple[dict[str, str], ...], conversation: str) -> _Job:
        with self._lock:
            waiting = len(self._jobs) + (self._current is not None)
            if waiting >= self._settings.queue:
                raise Busy(f"{waiting} calls wait for the local model; try again later")
            self._number += 1
            job = _Job(frames.Call(self._number, body, prefix, conversation))
            self._put(job)
            return job

    def _put(self, job: _Job) -> None:
        self._jobs.append(job)
        if self._thread is None:
            self._closing = False
            self._bell, heard = socket.socketpair()
            self._bell.setblocking(False)
            self._thread = threading.Thread(target=self._work, args=(heard,), name="roost-local-model", daemon=True)
            self._thread.start()
        self._ring()

    def _ring(self) -> None:
        """Wake the thread. A bell that is full is ringing already; one that is gone has nobody to wake."""
        with contextlib.suppress(OSError):
            if (bell := self._bell) is not None:
                bell.send(b"\0")

    def stop(self) -> threading.Thread | None:
        """Stop the running call, refuse those that wait, and end the worker. Returns the thread, which ends soon."""
        with self._lock:
            self._closing = True
            if self._current is not None:
                self._current.deliver(_closed())
                self._current.stopped.set()
            self._ring()
            return self._thread

    def after_fork(self) -> None:
        """In a fork the thread does not exist and the worker is the parent's."""
        if self._worker is not None:
            self._worker.forget()
        if self._bell is not None:
            self._bell.close()
        self._reset()

    def _work(self, heard: socket.socket) -> None:
        try:
            while True:
                job = self._next(heard)
                if job is not None:
                    self._run(job, heard)
                    continue
                self._end_worker()
                with self._lock:
                    if not self._jobs:
                        self._thread = None
                        if self._bell is not None:
                            self._bell.close()
                        self._bell = None
                        return
        finally:
            heard.close()

    def _next(self, heard: socket.socket) -> _Job | None:
        """The next job; None when there is none for the idle time, or the engine closes."""
        until = time.monotonic() + self._settings.idle
        while True:
            with self._lock:
                if self._jobs:
                    self._current = self._jobs.popleft()
                    return self._current
                if self._closing:
                    return None
            left = until - time.monotonic()
            if left <= 0:
                return None
            with contextlib.suppress(WorkerEnded, EngineFailed):  # the next call starts another, or hears why not
                self._listen(heard, left)

    def _run(self, job: _Job, heard: socket.socket) -> None:
        try:
            for attempt in range(_TRIES):
                try:
                    self._attempt(job, heard)
                    break
                except WorkerEnded as ended:
                    if job.answered or job.call is None or attempt + 1 == _TRIES:
                        raise _crashed(ended) from ended
        except _Abandoned:
            pass
        except Exception as error:  # whatever goes wrong must reach the caller, not end the thread
            job.deliver(error if isinstance(error, RoostError) else EngineFailed(f"the local model failed: {error!r}"))
        finally:
            with self._lock:
                self._current = None
            job.deliver(None)

    def _attempt(self, job: _Job, heard: socket.socket) -> None:
        self._check(job)
        worker = self._worker or self._start(job)
        if job.call is None:
            return
        if not worker.loaded:
            job.deliver(Progress("loading"))
        while not worker.loaded:
            self._check(job)
            self._listen(heard, None)
        job.deliver({})
        worker.send(job.call)
        self._follow(job, job.call.id, worker, heard)

    def _follow(self, job: _Job, number: int, worker: Worker, heard: socket.socket) -> None:
        """Deliver what comes until the call has ended."""
        patience: float | None = None
        while True:
            if patience is None and (job.stopped.is_set() or self._closing):
                if self._closing:
                    raise _closed()
                worker.send(frames.Cancel(number))
                patience = time.monotonic() + _GRACE
            left = None if patience is None else patience - time.monotonic()
            if left is not None and left <= 0:
                self._end_worker()
                raise _Abandoned
            for frame in self._listen(heard, left):
                match frame:
                    case frames.Chunk(id=id, data=data) if id == number and not job.stopped.is_set():
                        job.deliver(self._heard(job, data))
                    case frames.Ended(id=id, error=error) if id == number:
                        if error is not None:
                            raise EngineFailed(f"llama.cpp failed: {error}")
                        return
                    case _:
                        pass

    def _heard(self, job: _Job, data: msgspec.Raw) -> Chunk:
        chunk: Chunk = msgspec.json.decode(data)
        job.answered = job.answered or "prompt_progress" not in chunk
        return chunk

    def _check(self, job: _Job) -> None:
        if self._closing:
            raise _closed()
        if job.stopped.is_set():
            raise _Abandoned

    def _listen(self, heard: socket.socket, timeout: float | None) -> list[frames.Up]:
        """What the worker says next, or nothing when the bell rings. Raises `WorkerEnded`, `EngineFailed`."""
        worker = self._worker
        sources = (heard,) if worker is None else (heard, worker.link)
        ready = readable(*sources, timeout=timeout)
        if heard in ready:
            heard.recv(4096)
        if worker is None or worker.link not in ready:
            return []
        try:
            return worker.receive()
        except WorkerEnded:
            if worker.restoring is not None:  # llama.cpp does not survive a damaged state
                Path(worker.restoring).unlink(missing_ok=True)
            self._end_worker()
            raise
        except EngineFailed:
            self._end_worker()
            raise

    def _start(self, job: _Job) -> Worker:
        def report(progress: cache.Progress) -> None:
            if job.stopped.is_set():
                raise _Abandoned
            if progress.stage != "checking":
                job.deliver(Progress("fetching", progress.done, progress.total))

        source = self._locate(report)
        settings = applied(self._settings, source.tuned)
        need_memory(source.path, settings.context)
        self._worker = Worker(
            frames.Load(
                path=os.fspath(source.path),
                weights=source.identity,
                context=settings.context,
                threads=settings.threads,
                batch=settings.batch,
                repack=settings.repack,
                states=_writable(source.states),
            )
        )
        return self._worker

    def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()


def _writable(folder: Path | None) -> str | None:
    """The folder of states, made for this user alone. None where there can be none."""
    if folder is None:
        return None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return os.fspath(folder) if os.access(folder, os.W_OK | os.X_OK) else None


class _Shared:
    """The engines of this process by their weights, with the number of users of each."""

    def __init__(self) -> None:
        self._engines: dict[str, tuple[Engine, int]] = {}
        self._lock = threading.Lock()
        self._registered = False

    def acquire(self, key: str, make: Callable[[], Engine]) -> Engine:
        """The process's one engine for these weights; its settings are those of the first who asked."""
        with self._lock:
            if not self._registered:
                self._registered = True
                atexit.register(self.stop_all)
                os.register_at_fork(after_in_child=self._after_fork)
            engine, users = self._engines.get(key) or (make(), 0)
            self._engines[key] = (engine, users + 1)
            return engine

    def release(self, key: str) -> threading.Thread | None:
        """The last to release an engine stops it. Returns the thread that is then ending."""
        with self._lock:
            engine, users = self._engines.pop(key)
            if users > 1:
                self._engines[key] = (engine, users - 1)
                return None
        return engine.stop()

    def stop_all(self) -> None:
        with self._lock:
            threads = [engine.stop() for engine, _ in self._engines.values()]
            self._engines.clear()
        for thread in threads:
            if thread is not None:
                thread.join(10.0)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        for engine, _ in self._engines.values():
            engine.after_fork()


shared = _Shared()
