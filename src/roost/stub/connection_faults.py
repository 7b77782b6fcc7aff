"""One request's connection, with access to its transport, for the faults of the stub provider."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Line:
    """One request's connection. `gone`: the client hung up. `left`: it did so by itself, not after `abort`.
    `started`: a part of the response may have been sent."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._transport: Any = scope["roost.transport"]
        self._hangup = asyncio.create_task(self._watch())
        self._aborted = False
        self.started = False

    @property
    def gone(self) -> bool:
        return self._hangup.done()

    @property
    def left(self) -> bool:
        return self.gone and not self._aborted

    async def wait(self, seconds: float) -> bool:
        """Wait, and return whether the client hung up meanwhile."""
        if seconds > 0:
            await asyncio.wait({self._hangup}, timeout=seconds)
        return self.gone

    async def start(self, content_type: str, length: int | None = None) -> None:
        self.started = True
        headers = [(b"content-type", content_type.encode()), (b"cache-control", b"no-cache")]
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def write(self, data: bytes, *, more: bool = True) -> None:
        if data or not more:
            await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def whole(self, response: Response) -> None:
        self.started = True
        await response(self._scope, self._receive, self._send)

    async def behead(self, at: int) -> bool:
        """Send the first `at` bytes of a head, then a reset. Returns False: the answer is incomplete."""
        self.started = True
        self._transport.write(_HEAD[:at])
        return await self.abort(reset=True)

    async def abort(self, *, reset: bool) -> bool:
        """End the connection without ending the answer. Returns False: the answer is incomplete."""
        self.started = self._aborted = True
        # Written data must reach the client before the reset can overtake it.
        await asyncio.sleep(0.005)
        if reset:
            linger = struct.pack("ii", 1, 0)
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._transport.abort()
        else:
            self._transport.close()
        await self._hangup
        return False

    def end(self) -> None:
        self._hangup.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
