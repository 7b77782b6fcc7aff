"""One connection to a daemon: for an event loop, and for a thread."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from roost.client.daemon_address import Endpoint
from roost.client.requests import Unreachable

if TYPE_CHECKING:
    import asyncio

_CHUNK = 256 * 1024


def _unreachable(endpoint: Endpoint, error: OSError) -> Unreachable:
    reason = error.strerror or str(error) or type(error).__name__
    return Unreachable(f"no daemon answers at {endpoint.url} ({reason}). Start one with `roost up -d`, or check --url")


class Connection:
    """Reads and writes raise `OSError`, `TimeoutError` among them, when nothing moves for `timeout` seconds."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout: float) -> None:
        self._reader, self._writer, self.timeout = reader, writer, timeout

    @classmethod
    async def open(cls, endpoint: Endpoint, timeout: float) -> Connection:
        """Connect. Raises `Unreachable`."""
        import asyncio

        host, port, secure = endpoint.address
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await asyncio.open_connection(host, port, ssl=secure or None)
        except OSError as error:
            raise _unreachable(endpoint, error) from error
        return cls(reader, writer, timeout)

    async def read(self) -> bytes:
        import asyncio

        async with asyncio.timeout(self.timeout):
            return await self._reader.read(_CHUNK)

    async def write(self, data: bytes) -> None:
        import asyncio

        self._writer.write(data)
        async with asyncio.timeout(self.timeout):
            await self._writer.drain()

    def close(self) -> None:
        self._writer.close()


class BlockingConnection:
    """The same for one thread. `close` may be called from another one, and ends a read."""

    def __init__(self, place: socket.socket, timeout: float) -> None:
        self._socket, self.timeout = place, timeout

    @classmethod
    def open(cls, endpoint: Endpoint, timeout: float) -> BlockingConnection:
        """Connect. Raises `Unreachable`."""
        host, port, secure = endpoint.address
        try:
            name = host.encode() if host.isascii() else host  # other names need the tables of IDNA: 8 ms
            place = socket.create_connection((name, port), timeout)  # pyright: ignore[reportArgumentType] - takes bytes
            place.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if secure:
                import ssl

                place = ssl.create_default_context().wrap_socket(place, server_hostname=host)
        except OSError as error:
            raise _unreachable(endpoint, error) from error
        return cls(place, timeout)

    def read(self) -> bytes:
        return self._socket.recv(_CHUNK)

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
