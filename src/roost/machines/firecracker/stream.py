"""A stream into a machine that can be suspended: `carry` (its source beside it documents it) is the machine's end, this
is the host's. Between the connections before and after a suspension, no byte is lost or repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from pathlib import Path

from roost.errors import SandboxError
from roost.machines.firecracker.vsock import dial

PROGRAM = Path(__file__).with_name("carry")
_COUNT = struct.Struct("<Q")
_CHUNK = 65536
_SETTLING = 20.0


class Stream:
    """Copies between `end`, a socket of the host, and a port of the machine. `end` is shut down when the machine's side
    is gone. Belongs to one loop."""

    def __init__(self, place: Path, port: int, end: socket.socket) -> None:
        end.setblocking(False)
        self._place, self._port, self._end = place, port, end
        self._now: socket.socket | None = None
        self._next: socket.socket | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._in, self._out = _Way(), _Way()
        self._wanted: int | None = None
        """Number of bytes that the machine has sent; known once it has reported it."""

    async def start(self, seconds: float) -> None:
        """Connect. Raises `SandboxError` when the machine does not accept the stream in time."""
        self._now, _ = await _offered(self._place, self._port, 0, seconds)
        try:
            await asyncio.get_running_loop().sock_sendall(self._now, b"g")
        except OSError as error:
            raise SandboxError(f"the machine has ended: {error}") from error
        self._tasks = [asyncio.create_task(self._carry_in(self._now)), asyncio.create_task(self._carry_out(self._now))]

    async def hush(self) -> None:
        """Stop sending into the machine; bytes already read from `end` are sent. Raises `SandboxError`."""
        self._in.stop()
        await self._over(0)

    async def settle(self) -> None:
        """Drain the stream after `hush`: wait until all sent bytes have arrived, on both sides, and the machine's end
        waits for the next connection. Raises `SandboxError`."""
        if not self._tasks or self._tasks[1].done():
            raise SandboxError(f"the stream on port {self._port} has ended")
        self._next, self._wanted = await _offered(self._place, self._port, self._in.count, _SETTLING)
        self._out.stop()
        await self._over(1)
        if self._out.count != self._wanted:
            raise SandboxError(f"the stream on port {self._port} has ended")

    async def close(self) -> None:
        """End the stream. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for each in (self._now, self._next, self._end):
            if each is not None:
                each.close()

    async def _over(self, which: int) -> None:
        if not self._tasks or not (await asyncio.wait([self._tasks[which]], timeout=_SETTLING))[0]:
            raise SandboxError(f"the machine does not settle on port {self._port}")

    async def _carry_in(self, now: socket.socket) -> None:
        with contextlib.suppress(OSError):  # `_carry_out` reports the failure
            while not self._in.stopped and (data := await self._in.read(self._end)) != b"":
                await self._in.write(now, data)

    async def _carry_out(self, now: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while self._out.count != self._wanted and (data := await self._out.read(now)) != b"":
                await self._out.write(self._end, data)
        if self._out.count != self._wanted:
            with contextlib.suppress(OSError):
                self._end.shutdown(socket.SHUT_RDWR)


class _Way:
    def __init__(self) -> None:
        self.count = 0
        self.stopped = False
        self._ready: asyncio.Future[None] | None = None

    def stop(self) -> None:
        self.stopped = True
        _done(self._ready)

    async def read(self, source: socket.socket) -> bytes | None:
        """Return available bytes; empty at the end; None when `stop` was called before any came."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(BlockingIOError):
            return source.recv(_CHUNK)
        ready = self._ready = loop.create_future()
        loop.add_reader(source, _done, ready)
        try:
            await ready
        finally:
            loop.remove_reader(source)
        with contextlib.suppress(BlockingIOError):
            return source.recv(_CHUNK) if not self.stopped else None
        return None

    async def write(self, target: socket.socket, data: bytes | None) -> None:
        if data:
            self.count += len(data)
            await asyncio.get_running_loop().sock_sendall(target, data)


def _done(ready: asyncio.Future[None] | None) -> None:
    if ready is not None and not ready.done():
        ready.set_result(None)


async def _offered(place: Path, port: int, sent: int, seconds: float) -> tuple[socket.socket, int]:
    """Return a connection, and how many bytes the machine has sent on the former one. A connection that the machine
    loses at once, as right after a resume, is made again."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(seconds):
            while True:
                made = await dial(place, port, seconds)
                try:
                    await loop.sock_sendall(made, _COUNT.pack(sent))
                    said = b""
                    while len(said) < _COUNT.size and (piece := await loop.sock_recv(made, _COUNT.size - len(said))):
                        said += piece
                except OSError:
                    said = b""
                except BaseException:
                    made.close()
                    raise
                if len(said) == _COUNT.size:
                    return made, _COUNT.unpack(said)[0]
                made.close()
                await asyncio.sleep(0.01)
    except TimeoutError as error:
        raise SandboxError(f"the machine does not take up port {port}") from error
