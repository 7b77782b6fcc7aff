"""One llama.cpp per weights file and process: loaded at first use, fed from a queue, unloaded when idle."""

from __future__ import annotations

import asyncio
import atexit
import importlib
import os
import queue
import secrets
import threading
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, cast

from roost.errors import Busy, RoostError
from roost.llm.local.cache import Progress, Report
from roost.llm.local.memory import give_back, need_memory
from roost.llm.local.settings import Settings

Chunk = dict[str, Any]
_BATCH = 64


class EngineFailed(RoostError):
    """The engine cannot run the model. `code` says why."""

    code, status = "engine_failed", 503


class _Abandoned(Exception):
    """Raised inside the engine's thread when nobody waits for the weights any more."""


class _Job:
    """One call. `deliver` hands an item to the caller's loop; None ends the call."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.stopped = threading.Event()
        self.inbox: asyncio.Queue[Chunk | BaseException | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def deliver(self, item: Chunk | BaseException | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self.inbox.put_nowait, item)
        except RuntimeError:  # the caller's loop is closed
            self.stopped.set()

    def callback(self, chunk: Any) -> bool:
        """Called by the library for every piece, in the engine's thread. True stops the generation."""
        if not self.stopped.is_set():
            self.deliver(cast("Chunk", chunk))
        return self.stopped.is_set()


def _closed() -> EngineFailed:
    return EngineFailed("the local model was closed", code="closed")


class Engine:
    """Serves one weights file. `locate` brings the path of the weights, in the engine's thread, and may take long.

    One call generates at a time, the others wait in order. All methods are for an event loop and do not block it;
    different loops may share an engine.
    """

    def __init__(self, locate: Callable[[Report], Path], settings: Settings, *, report: Report | None = None) -> None:
        self._locate = locate
        self._settings = settings
        self._report = report
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0
        self._current: _Job | None = None
        self._closing = False
        self._thread: threading.Thread | None = None
        self._server: Any = None

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory."""
        return self._server is not None

    async def generate(self, body: dict[str, Any]) -> AsyncGenerator[Chunk]:
        """Run a chat completion and yield its streamed chunks. Raises `EngineFailed`, `WeightsError`, `OutOfMemory`,
        `Busy`. Closing the iterator stops the generation at the next token or, while the prompt is read, within a batch
        of it. The first chunk is empty: the call's turn has come."""
        job = _Job(body)
        self._submit(job)
        watch: asyncio.TimerHandle | None = None
        try:
            while (item := await job.inbox.get()) is not None:
                if watch is None:
                    watch = asyncio.get_running_loop().call_later(self._settings.deadline, self._expire, job)
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            job.stopped.set()
            if watch is not None:
                watch.cancel()

    def _expire(self, job: _Job) -> None:
        message = f"the local model did not finish within {self._settings.deadline:.0f} s; raise ROOST_MODEL_DEADLINE"
        job.inbox.put_nowait(EngineFailed(message, code="deadline"))

    def _submit(self, job: _Job) -> None:
        with self._lock:
            if self._waiting >= self._settings.queue:
                raise Busy(f"{self._waiting} calls wait for the local model; try again later")
            self._waiting += 1
            self._jobs.put(job)
            if self._thread is None:
                self._closing = False
                self._thread = threading.Thread(target=self._work, name="roost-local-model", daemon=True)
                self._thread.start()

    def stop(self) -> threading.Thread | None:
        """Stop the running call, refuse those that wait, and unload. Returns the thread, which ends soon."""
        with self._lock:
            self._closing = True
            if self._current is not None:
                self._current.deliver(_closed())
                self._current.stopped.set()
            self._jobs.put(None)
            return self._thread

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=self._settings.idle)
            except queue.Empty:
                job = None
            if job is not None:
                self._run(job)
                continue
            self._server = None
            give_back()
            with self._lock:
                if self._jobs.empty():
                    self._thread = None
                    return

    def _run(self, job: _Job) -> None:
        with self._lock:
            self._current = job
        try:
            if self._closing:
                raise _closed()
            if not job.stopped.is_set():
                server = self._server or self._load(job)
                job.deliver({})
                server.handle_chat_completions(job.body, job.callback)
        except _Abandoned:
            pass
        except Exception as error:  # whatever the native library raises must reach the caller, not end the thread
            job.deliver(error if isinstance(error, RoostError) else EngineFailed(f"llama.cpp failed: {error}"))
        finally:
            with self._lock:
                self._current = None
                self._waiting -= 1
            job.deliver(None)

    def _load(self, job: _Job) -> Any:
        def report(progress: Progress) -> None:
            if job.stopped.is_set():
                raise _Abandoned
            if self._report is not None:
                self._report(progress)

        path = self._locate(report)
        need_memory(path, self._settings.context)
        self._server = start_server(path, self._settings)
        return self._server


def start_server(path: Path, settings: Settings) -> Any:
    """Load the weights. The library always opens a listener on loopback: it gets a random port and a random key, so
    that no other process can use it. Raises `EngineFailed`."""
    library = engine_library()
    params: Any = library.CommonParams()
    params.model.path = os.fspath(path)
    params.n_ctx = settings.context
    params.n_parallel = 1
    params.n_batch = params.n_ubatch = _BATCH
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads
    params.cache_ram_mib = 256
    params.no_extra_bufts = True
    params.warmup = False
    params.verbosity = -1
    params.api_keys = [secrets.token_urlsafe(32)]
    params.endpoint_slots = False
    params.ui = False
    try:
        return library.Server(params)
    except Exception as error:  # the library raises bare RuntimeErrors
        raise EngineFailed(
            f"llama.cpp cannot load {path.name!r}: {error}. Is it a whole GGUF file of a model for text?",
            code="load_failed",
        ) from error


def engine_library() -> Any:
    """llama.cpp. Raises `EngineFailed`."""
    try:
        return importlib.import_module("xllamacpp")
    except ImportError as error:
        raise EngineFailed(
            f"the local model needs xllamacpp, which cannot be used here ({error}): 'pip install xllamacpp', or "
            "set a provider's key to use a hosted model",
            code="engine_missing",
        ) from error


class _Shared:
    """The engines of this process, by their weights, with how many use each."""

    def __init__(self) -> None:
        self._engines: dict[str, tuple[Engine, int]] = {}
        self._lock = threading.Lock()

    def acquire(self, key: str, make: Callable[[], Engine]) -> Engine:
        """The process's one engine for these weights; its settings are those of the first who asked."""
        with self._lock:
            if not self._engines:
                atexit.register(self.stop_all)
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


shared = _Shared()
