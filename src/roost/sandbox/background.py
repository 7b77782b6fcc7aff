"""A level 0 background command, with its outputs in one stream."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import Future

from roost.sandbox.base import ExecResult
from roost.sandbox.command import Command

WINDOW = 256 * 1024
"""Bytes of output kept for a reader; beyond that the oldest are dropped."""
_PATIENCE = 30.0
"""Seconds that a lossless command waits for its reader before more of its output is kept."""


class Background:
    """A `roost.sandbox.backend.Terminal` without a terminal. `stdin`: the write end of the command's input. `lossless`:
    the command waits for the reader, and nothing is dropped."""

    def __init__(self, stdin: int, *, lossless: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self._stdin = stdin
        self._lock = threading.Condition()
        self._waits = lossless
        self._waiting = bytearray()
        self._cut = 0
        self._news = asyncio.Event()
        self._complete = False
        self._input: asyncio.WriteTransport | None = None

    def run(self, command: Command, done: Future[ExecResult]) -> None:
        self._command = command
        self._done = asyncio.wrap_future(done)
        self._done.add_done_callback(self._over)

    async def follow(self, command: Command, done: Future[ExecResult]) -> None:
        self.run(command, done)
        pipe = os.fdopen(self._stdin, "wb", buffering=0)
        self._input, _ = await self._loop.connect_write_pipe(asyncio.BaseProtocol, pipe)

    @property
    def running(self) -> bool:
        return not self._done.done()

    def heard(self, data: bytes) -> None:
        """Take output of the command. Called in the command's thread."""
        with self._lock:
            quiet = not self._waiting
            self._waiting += data
            over = len(self._waiting) - WINDOW
            if over > 0 and not self._waits:
                del self._waiting[:over]
                self._cut += over
        if quiet and data:
            try:
                self._loop.call_soon_threadsafe(self._news.set)
            except RuntimeError:  # the loop is closed: there is no reader any more
                self._waits = False
        with self._lock:
            self._lock.wait_for(lambda: not self._waits or len(self._waiting) <= WINDOW, _PATIENCE)

    async def read(self) -> AsyncGenerator[bytes, None]:
        while True:
            complete = self._complete
            with self._lock:
                data, self._waiting = bytes(self._waiting), bytearray()
                cut, self._cut = self._cut, 0
                self._lock.notify_all()
            if data:
                yield f"[... {cut} bytes cut ...]\n".encode() + data if cut else data
            elif complete:
                return
            else:
                await self._news.wait()
                self._news.clear()

    async def write(self, data: bytes) -> None:
        if self._input is not None and not self._input.is_closing():
            self._input.write(data)

    async def resize(self, columns: int, rows: int) -> None:
        return None

    async def hides_input(self) -> bool:
        return False

    async def wait(self) -> int:
        result = await asyncio.shield(self._done)
        return -15 if result.exit_code is None else result.exit_code

    async def close(self) -> None:
        with self._lock:
            self._waits = False
            self._lock.notify_all()
        self._command.cancel()
        self._hang_up()
        while self.running:
            await asyncio.wait([self._done])

    def _over(self, done: asyncio.Future[ExecResult]) -> None:
        if not done.cancelled() and done.exception() is None and done.result().stderr:
            self.heard(done.result().stderr.encode())  # it could not be started
        self._complete = True
        self._hang_up()
        self._news.set()

    def _hang_up(self) -> None:
        if self._input is not None and not self._input.is_closing():
            self._input.abort()
