"""The HTTP server under the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Generator
from typing import Any, Literal

import uvicorn

MESSAGE_BYTES = 1024 * 1024
"""Most bytes of a client's WebSocket message; the parser closes with 1009 above."""
PING_SECONDS = 20.0
PONG_SECONDS = 60.0
"""A WebSocket that answers no ping for so long is cut off: its client is gone, or reads nothing."""


class Server(uvicorn.Server):
    """A uvicorn server without signal handling, which the daemon does. It reports when it listens, and exits as soon as
    it is told: the base class polls ten times a second, and sleeps as long at its end. `grace`: seconds that requests
    get to end."""

    def __init__(self, app: Any, *, grace: float) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            http=_protocol(),
            ws=_websocket,  # pyright: ignore[reportArgumentType] - it calls it, as it would a class
            ws_ping_interval=PING_SECONDS,
            ws_ping_timeout=PONG_SECONDS,
            ws_max_size=MESSAGE_BYTES,
            ws_per_message_deflate=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=math.ceil(grace),
        )
        super().__init__(config)
        self.listening = asyncio.Event()
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        self.should_exit = True
        self._leaving.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # `on_tick` sets the responses' date
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._leaving.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        state = self.server_state
        for place in (*self.servers, *(sockets or ())):
            place.close()
        for connection in list(state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                while (state.connections or state.tasks) and not self.force_exit:  # noqa: ASYNC110 - they set no event
                    await asyncio.sleep(0.01)
                for server in self.servers:
                    await server.wait_closed()
        except TimeoutError:
            for task in state.tasks:
                task.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _websocket(config: uvicorn.Config, server_state: Any, app_state: dict[str, Any]) -> asyncio.Protocol:
    """Make the protocol of a connection that asks for an upgrade. Its library is imported here: with the first one."""
    from roost.server.websocket_limits import WebSocketConnection

    return WebSocketConnection(config, server_state, app_state)


def _protocol() -> type[asyncio.Protocol] | Literal["h11"]:
    try:
        from roost.server.connection_limits import Connection
    except ImportError:
        return "h11"
    return Connection
