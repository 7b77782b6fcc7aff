"""WebSocket connections: the parser's limits, and those that it does not have.

Imported with the first upgrade request (`uvicorn_server.py`), and so is the library `websockets`."""

from __future__ import annotations

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame

_FRAGMENTS = 1024
_CLOSE_SECONDS = 2.0
"""What a client gets to read the last message and to close."""


class WebSocketConnection(WebSocketsSansIOProtocol):
    """End a connection that is no WebSocket, that does not read, or that sends a message in endless pieces. The base
    class closes such connections, too, but only when the client has read what was written to it."""

    _pong = b""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.handshake_initiated:  # the parser refused the request's head, which came in one piece
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) >= _FRAGMENTS:
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG, f"a message has at most {_FRAGMENTS} frames")
            self.handle_parser_exception()
        else:
            super().handle_cont(event)

    def handle_ping(self) -> None:
        self._pong = b"".join(self.conn.data_to_send())
        if self.writable.is_set():
            self.resume_writing()

    def resume_writing(self) -> None:
        """Write the last pong: those that a client does not read would be kept in memory."""
        super().resume_writing()
        pong, self._pong = self._pong, b""
        if pong:
            self.transport.write(pong)

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.transport.abort()

    def shutdown(self) -> None:
        """Leave the end to the application, which has been told and says why, unless it has not begun."""
        if not self.handshake_complete or self.close_sent:
            super().shutdown()

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        self.handshake_complete |= self.close_sent  # a refusal ends the handshake, too

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self.loop.call_later(_CLOSE_SECONDS, self.transport.abort)
