"""The server's end of a WebSocket, for test doubles of platforms: written to from any thread."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any


class ServerSocket:
    """One accepted connection of an ASGI application. Made on the server's loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._out: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.closed = False

    def tell(self, message: Any) -> None:
        """Send a message. Raises `OSError` once the connection has ended."""
        self._put({"type": "websocket.send", "text": json.dumps(message)})

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection, after what was sent before. Raises `OSError` once it has ended."""
        self._put({"type": "websocket.close", "code": code, "reason": reason})

    def _put(self, event: dict[str, Any]) -> None:
        if self.closed:
            raise OSError("the connection has ended")
        self.closed = event["type"] == "websocket.close"
        try:
            self._loop.call_soon_threadsafe(self._out.put_nowait, event)
        except RuntimeError as error:
            raise OSError("the server has ended") from error

    async def serve(self, receive: Any, send: Any, heard: Callable[[Any], None]) -> None:
        """Exchange messages until the connection ends."""
        writing = asyncio.create_task(self._write(send))
        try:
            while (message := await receive())["type"] == "websocket.receive":
                heard(json.loads(message.get("text") or message["bytes"]))
        finally:
            self.closed = True
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _write(self, send: Any) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # the other end has gone
            while True:
                await send(await self._out.get())
