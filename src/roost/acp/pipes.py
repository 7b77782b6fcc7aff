"""Read and write lines of a process's pipes, beside the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sys
import threading
from collections.abc import AsyncGenerator

_CHUNK = 256 * 1024
_WAITING = 8
"""Chunks that were read and wait; then the reader waits."""


class LineReader:
    """Reads lines from a file descriptor in a thread of its own. most: bytes of a line."""

    def __init__(self, source: int, most: int) -> None:
        self._source, self._most = source, most
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(_WAITING)
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, name="roost-acp-in", daemon=True).start()

    async def lines(self) -> AsyncGenerator[bytes | None]:
        """Yield each line without its end, and None in place of a line that is too long. Ends with the input."""
        parts: list[bytes] = []
        size = 0
        while chunk := await self._chunks.get():
            *ends, rest = chunk.split(b"\n")
            for end in ends:
                size += len(end)
                yield b"".join((*parts, end)) if size <= self._most else None
                parts, size = [], 0
            size += len(rest)
            if size <= self._most:
                parts.append(rest)
            else:
                parts.clear()
        if size:
            yield b"".join(parts) if size <= self._most else None

    def _read(self) -> None:
        chunk = b"first"
        while chunk:
            try:
                chunk = os.read(self._source, _CHUNK)
            except OSError:
                chunk = b""
            with contextlib.suppress(RuntimeError):  # the loop is closed
                asyncio.run_coroutine_threadsafe(self._chunks.put(chunk), self._loop).result()


class LineWriter:
    """Writes lines to a file descriptor in a thread of its own, in the order of the calls. A reader that does not read
    makes the callers wait, and nobody else."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._waiting: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]]] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._write, name="roost-acp-out", daemon=True).start()

    async def write(self, line: bytes) -> None:
        """Return when the line is written. Raises `OSError` when the reader is gone."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting.put((line + b"\n", done))
        await done

    def _write(self) -> None:
        while True:
            line, done = self._waiting.get()
            error = None
            try:
                rest = memoryview(line)
                while rest:
                    rest = rest[os.write(self._target, rest) :]
            except OSError as caught:
                error = caught
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(_settle, done, error)


def _settle(done: asyncio.Future[None], error: OSError | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


def own_streams() -> tuple[int, int]:
    """Take standard input and output for the protocol alone. What else is printed goes to standard error."""
    source, target = os.dup(0), os.dup(1)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    sys.stdout.flush()
    os.dup2(2, 1)
    return source, target
