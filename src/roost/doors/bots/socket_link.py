"""One WebSocket to a platform: JSON objects both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from roost.doors.bots.platform import Failed
from roost.version import version

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

_OPEN_SECONDS = 30.0
_PING_SECONDS = 30.0
_LARGEST = 16 << 20
"""Bytes of one frame: a platform may introduce a bot to all its groups in one."""


class Closed(Failed):
    """The connection has ended. code: of the close frame; 1006 without one."""

    def __init__(self, why: str, code: int) -> None:
        super().__init__(why)
        self.code = code


class Link:
    """An open connection. One task receives; any may send."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def receive(self) -> bytes:
        """Return the next message. Raises `Closed`."""
        from websockets.exceptions import ConnectionClosed

        try:
            return await self._connection.recv(decode=False)
        except ConnectionClosed as error:
            raise _closed(error) from None

    async def send(self, message: Any) -> None:
        """Raises `Closed`."""
        from websockets.exceptions import ConnectionClosed

        try:
            await self._connection.send(msgspec.json.encode(message).decode())
        except ConnectionClosed as error:
            raise _closed(error) from None

    async def close(self, code: int = 1000) -> None:
        await self._connection.close(code)


async def connect(url: str) -> Link:
    """Open a connection. The caller closes it. Raises `Failed`."""
    from websockets.asyncio.client import connect as opened
    from websockets.exceptions import WebSocketException

    try:
        return Link(
            await opened(
                url,
                open_timeout=_OPEN_SECONDS,
                close_timeout=2.0,
                ping_interval=_PING_SECONDS,
                ping_timeout=2 * _PING_SECONDS,
                max_size=_LARGEST,
                max_queue=256,
                proxy=None,
                user_agent_header=f"roost/{version()}",
            )
        )
    except (WebSocketException, OSError, TimeoutError, ValueError) as error:  # the address may hold a ticket
        raise Failed(f"no WebSocket to {url.partition('?')[0][:100]}: {type(error).__name__}") from None


def _closed(error: Any) -> Closed:
    code = error.rcvd.code if error.rcvd is not None else 1006
    why = error.rcvd.reason if error.rcvd is not None else ""
    return Closed(f"the WebSocket was closed: {code} {why}".rstrip(), code)
