"""The stub provider's server: uvicorn's, except that it stops at once."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

_TICK = 0.1
"""Seconds; uvicorn's own value."""


def listen(host: str, port: int) -> socket.socket:
    """Listen at the address. Raises `OSError` where it is not available."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(512)
    except BaseException:
        listener.close()
        raise
    return listener


def server(app: Any) -> Any:
    """Return a server: `run(sockets=[...])` serves until a signal or, from any thread, `tell()` ends it."""
    import uvicorn

    class Server(uvicorn.Server):
        stopping: asyncio.Event | None = None
        loop: asyncio.AbstractEventLoop

        def tell(self) -> None:
            self.should_exit = True
            if self.stopping is not None:
                with suppress(RuntimeError):  # the loop has ended already
                    self.loop.call_soon_threadsafe(self.stopping.set)

        async def main_loop(self) -> None:
            self.loop = asyncio.get_running_loop()
            self.stopping = asyncio.Event()
            ticks = 0
            while not await self.on_tick(ticks):
                ticks = (ticks + 1) % 864_000
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TICK):
                        await self.stopping.wait()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            for listener in (*self.servers, *(sockets or ())):
                listener.close()
            await _end(self.server_state)

    config = uvicorn.Config(
        app, lifespan="off", log_config=None, log_level="critical", access_log=False, proxy_headers=False
    )
    return Server(config)


async def _end(state: Any) -> None:
    """End all connections without waiting: a script may be silent for an hour."""
    for connection in list(state.connections):
        connection.shutdown()
    for task in list(state.tasks):
        task.cancel()
    await _settled(state)
    for connection in list(state.connections):
        connection.transport.abort()
    await _settled(state)


async def _settled(state: Any) -> None:
    for _ in range(20):
        if not (state.connections or state.tasks):
            return
        await asyncio.sleep(0)
