"""A network that can be broken: a TCP proxy that cuts, holds back, slows down and heals, and balances over targets."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

Address = tuple[str, int]

_CHUNK = 64 * 1024
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on and zero: closing sends RST, as a machine that lost its memory does."""


class _Pair(NamedTuple):
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter


class TcpProxy:
    """Listens on a loopback port and passes every connection on to a target: to the next of several in turn, and past
    those that refuse it, so that it is also a load balancer without stickiness. `targets` is asked for each connection.

    `hold` is a partition that TCP does not notice: connections are accepted and nothing arrives. As on a real network
    the bytes are not lost but late: `heal` delivers them, also those of a sender who has given up since.
    """

    def __init__(self, targets: Callable[[], Sequence[Address]]) -> None:
        self.accepted = 0
        self.port = 0
        self._targets = targets
        self._turn = itertools.count()
        self._delay = 0.0
        self._refuses = False
        self._up, self._down = asyncio.Event(), asyncio.Event()
        self._up.set()
        self._down.set()
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @classmethod
    def to(cls, url: str) -> TcpProxy:
        """In front of the server of a URL."""
        parts = urlsplit(url)
        address = (parts.hostname or "127.0.0.1", parts.port or 0)
        return cls(lambda: [address])

    def through(self, url: str) -> str:
        """The URL by way of this proxy."""
        parts = urlsplit(url)
        user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        return urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{self.port}"))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        return len(self._pairs)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.refuse()  # what was accepted a moment ago and has no task yet
        self.cut()
        for _ in range(2):
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0.01)  # for the sockets that were cut to be closed

    async def __aenter__(self) -> TcpProxy:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    # What may go wrong

    def cut(self, *, reset: bool = True) -> int:
        """End every connection at both ends, with RST or (not `reset`) with FIN. Returns how many there were."""
        pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for writer in pair:
                _end(writer, reset=reset)
        return len(pairs)

    def refuse(self) -> None:
        """New connections are reset. Those that are there go on."""
        self._refuses = True

    def hold(self, *, up: bool = True, down: bool = True) -> None:
        """Nothing arrives at the server (`up`), or at the client (`down`), until `heal`."""
        if up:
            self._up.clear()
        if down:
            self._down.clear()

    def delay(self, seconds: float) -> None:
        """Everything takes so much longer, each way."""
        self._delay = seconds

    def heal(self) -> None:
        """All is well again, and what was held back arrives."""
        self._delay, self._refuses = 0.0, False
        self._up.set()
        self._down.set()

    # Inner parts

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if not self._refuses:
                self.accepted += 1
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # `close`; the stream's own callback would report it as an error
        finally:
            _end(writer, reset=True)
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._up.wait()
        connected = await self._connect()
        if connected is None:
            return
        pair = _Pair(writer, connected[1])
        self._pairs.add(pair)
        ways = [
            asyncio.create_task(self._pump(reader, pair.server, self._up)),
            asyncio.create_task(self._pump(connected[0], pair.client, self._down)),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
            if not any(way.exception() for way in done):
                _end(pair.client, reset=False)
                _end(pair.server, reset=False)
        finally:
            self._pairs.discard(pair)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            _end(pair.server, reset=True)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        targets = self._targets()
        first = next(self._turn)
        for place in range(len(targets)):
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(*targets[(first + place) % len(targets)])
        return None

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event) -> None:
        """One way of a connection, until the sender has ended it. Raises `OSError` when it broke."""
        while True:
            data = await reader.read(_CHUNK)
            if self._delay:
                await asyncio.sleep(self._delay)
            await gate.wait()
            if not data:
                break
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()


def _end(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    if writer.transport.is_closing():
        return
    if not reset:
        writer.close()
        return
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):  # the other side may be gone
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
