"""Egress of a sandbox that shares no socket with this machine: its programs ask for connections over the link. They are
opened here, to the proxy (`egress.py`) and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import deque
from pathlib import Path

from roost.errors import SandboxError
from roost.sandbox.guest.link import Job, Link

WINDOW = 256 * 1024
"""Bytes of one connection that may be buffered here."""
_CHUNK = 64 * 1024
_MOST = 128


class Dialling:
    """Opens connections for one link, on its event loop. `close` ends every connection."""

    def __init__(self, link: Link, door: Path) -> None:
        self._link, self._door = link, door
        self._open: set[asyncio.Task[None]] = set()
        link.dial = self._dial

    async def close(self) -> None:
        self._link.dial = None
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _dial(self, number: int) -> None:
        if len(self._open) < _MOST:
            connection = _Connection(self._link, number)
            task = asyncio.create_task(connection.run(self._door))
            self._open.add(task)
            task.add_done_callback(self._open.discard)


class _Connection:
    def __init__(self, link: Link, number: int) -> None:
        self._link = link
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._news = asyncio.Event()
        self._job: Job = link.take_up(number, self._heard)

    async def run(self, door: Path) -> None:
        job = self._job
        try:
            reader, writer = await asyncio.open_unix_connection(str(door), limit=_CHUNK)
            both = asyncio.gather(self._out(writer), self._in(reader))
            try:
                job.grant(WINDOW)
                await asyncio.wait([both, job.ended], return_when=asyncio.FIRST_COMPLETED)
                if not job.ended.done():
                    both.result()
                    await job.ended  # once the guest has read all of it
            finally:
                both.cancel()
                writer.transport.abort()  # finished data is written; a peer that does not read is not waited for
                await asyncio.gather(both, return_exceptions=True)
        except (OSError, SandboxError):
            pass  # the program inside sees the end of its connection
        finally:
            if not job.ended.done():
                with contextlib.suppress(SandboxError):
                    job.signal(signal.SIGKILL)

    def _heard(self, fd: int, cut: int, data: bytes) -> None:
        self._waiting += len(data)
        if self._waiting > 2 * WINDOW:
            self._link.close("it sent more than it may")
            return
        self._pieces.append(data)
        self._news.set()

    async def _out(self, writer: asyncio.StreamWriter) -> None:
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._waiting -= len(piece)
                if not piece:
                    await _written(writer)
                    writer.write_eof()
                    return
                writer.write(piece)
                await writer.drain()
                self._job.grant(len(piece))
            self._news.clear()
            await self._news.wait()

    async def _in(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(_CHUNK):
            await self._job.feed(data)
        self._job.end_input()


async def _written(writer: asyncio.StreamWriter) -> None:
    """Flush completely: `drain` alone returns while data is left."""
    writer.transport.set_write_buffer_limits(0)
    await writer.drain()
