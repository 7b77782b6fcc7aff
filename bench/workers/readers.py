"""Many readers of one session's stream, from one process that does nothing but count."""

from __future__ import annotations

import asyncio
from typing import Any

from bench.wire import Connection
from bench.worker import Clock, serve

_END = b"event: turn.completed"
_FRAME = b"\ndata: "
_OVERLAP = 32


class Reader(asyncio.Protocol):
    """Counts frames until the turn ends."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        self._tail = b""
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.frames = self.bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        order = self._order
        assert isinstance(transport, asyncio.Transport)
        transport.write(
            f"GET /sessions/{order['session']}/events?after={order['after']} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            "Authorization: Bearer bench\r\nAccept: text/event-stream\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if not self.open.done():
            self.open.set_result(None)
        self.bytes += len(data)
        seen = self._tail + data
        self.frames += seen.count(_FRAME) - self._tail.count(_FRAME)
        self._tail = seen[-_OVERLAP:]
        if _END in seen and not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.open, self.done):
            if not future.done():
                future.set_exception(exc or ConnectionError("the server closed the stream"))


async def run(order: dict[str, Any]) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    pairs = [
        await loop.create_connection(lambda: Reader(order), "127.0.0.1", order["port"]) for _ in range(order["readers"])
    ]
    readers = [reader for _, reader in pairs]
    await asyncio.gather(*(reader.open for reader in readers))
    speaker = Connection(order["port"], token="bench")
    before = sum(reader.frames for reader in readers)
    clock = Clock()
    await speaker.json("POST", f"/sessions/{order['session']}/messages", {"text": "go on"})
    await asyncio.gather(*(reader.done for reader in readers))
    spent = clock.stop()
    for transport, _ in pairs:
        transport.close()
    speaker.close()
    frames = sum(reader.frames for reader in readers) - before
    return {**spent, "frames": frames, "bytes": sum(reader.bytes for reader in readers)}


if __name__ == "__main__":
    serve(lambda folder, order: asyncio.run(run(order)))
