"""A program inside that runs between commands: on a terminal, or in the background with one output stream."""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from collections.abc import AsyncIterator

import msgspec

from roost.errors import SandboxError
from roost.sandbox.guest.link import Command, Ended, Job, Link

WINDOW = 256 * 1024
"""Bytes of output that may wait for a reader. Beyond that a program on a terminal, or a lossless one, waits; a
background command keeps the last `WINDOW` bytes."""
_CLOSING = 5.0
_MODE_SECONDS = 2.0
_NOTES = 4096


class Kept(msgspec.Struct, frozen=True):
    """A program in a suspended sandbox: its number, and its output that was not read yet."""

    job: int
    unread: bytes


class GuestTerminal:
    """A `roost.sandbox.backend.Terminal`. For a program that could not be started `read` yields why, and `wait` returns
    126 or 127."""

    def __init__(self, link: Link, what: Command | Kept, *, lossless: bool = False) -> None:
        self._link = link
        self._pieces: deque[bytes] = deque()
        self._news = asyncio.Event()
        if isinstance(what, Kept):
            self._pieces += [what.unread] if what.unread else []
            self._job: Job = link.take_up(what.job, self._heard)
        else:
            what.input, what.credit = True, WINDOW
            what.keep = 0 if what.terminal or lossless else WINDOW
            self._job = link.start(what, self._heard)
        self._waiting = sum(map(len, self._pieces))
        self._job.ended.add_done_callback(self._over)

    @property
    def number(self) -> int:
        """Job number; stays the same over a suspension."""
        return self._job.id

    def kept(self) -> Kept:
        """Return the state that `GuestTerminal` needs after a suspension."""
        return Kept(self._job.id, b"".join(self._pieces))

    @property
    def running(self) -> bool:
        return not self._job.ended.done()

    async def read(self) -> AsyncIterator[bytes]:
        while True:
            while self._pieces:
                data = b"".join(self._pieces)
                self._pieces.clear()
                self._waiting -= len(data)
                if self.running:
                    self._job.grant(len(data))
                yield data
            if not self.running:
                return
            self._news.clear()
            await self._news.wait()

    async def write(self, data: bytes) -> None:
        await self._job.feed(data)

    async def resize(self, columns: int, rows: int) -> None:
        self._job.resize(columns, rows)

    async def hides_input(self) -> bool:
        """As the contract says. An agent of an older Roost, in a resumed image, does not answer: then it is unknown."""
        if not self.running:
            return True
        try:
            async with asyncio.timeout(_MODE_SECONDS):
                return await self._job.hides_input()
        except (TimeoutError, SandboxError):
            return True

    async def wait(self) -> int:
        return (await asyncio.shield(self._job.ended)).code

    async def close(self) -> None:
        if self.running and not self._link.lost.done():
            self._job.signal(signal.SIGHUP)
            self._job.signal(signal.SIGKILL, everything=True)
            await asyncio.wait([self._job.ended], timeout=_CLOSING)

    def _heard(self, fd: int, cut: int, data: bytes) -> None:
        if self._waiting + len(data) > 2 * WINDOW + _NOTES:
            self._link.close("it sent more output than it may")
            return
        if cut:
            data = f"\n[... {cut} bytes cut ...]\n".encode() + data
        self._waiting += len(data)
        self._pieces.append(data)
        self._news.set()

    def _over(self, ended: asyncio.Future[Ended]) -> None:
        if not ended.cancelled() and ended.exception() is None and (refused := ended.result().refused):
            self._pieces.append(refused.encode())
        self._news.set()
