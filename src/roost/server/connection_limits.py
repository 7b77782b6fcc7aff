"""Limit what a connection sends before it shows its token, and send problem documents for requests that are not
HTTP."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from roost.server.problems import CONTENT_TYPE, problem
from roost.server.responses import encode

HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 30.0
_LINGER_SECONDS = 1.0
_LINGER_BYTES = 1024 * 1024
"""Seconds for which a refused request's connection is still read, and bytes of it that are dropped. Closed at once, the
connection would be reset before the client reads the response."""


class Connection(HttpToolsProtocol):
    """End a connection that sends more than 64 KiB, or for 30 s, without completing a head, a piece of a body or a
    trailer: the parser itself keeps an endless line in memory. Requests that are not HTTP get a problem document. h11,
    used where httptools is not installed, has its own limit of bytes and responds in plain text."""

    _unfinished = 0
    _refused = False
    _dropped = 0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._done()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            self._dropped += len(data)
            if self._dropped > _LINGER_BYTES:
                self.transport.close()
            return
        self._unfinished += len(data)
        super().data_received(data)
        if self._unfinished > HEAD_BYTES and not self._refused and not self.transport.is_closing():
            self._refuse(431, "head_too_large", f"a request's head has at most {HEAD_BYTES} bytes")
        elif self._unfinished and self._deadline is None:
            self._wait()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "invalid_http", "this is not a request of HTTP/1.1: the parser cannot read it")

    def on_headers_complete(self) -> None:
        self._done()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._done()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._done()
        super().on_message_complete()

    def _refuse(self, status: int, code: str, detail: str) -> None:
        self._refused = True
        self._done()
        body = encode(problem(status, code, detail))
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {CONTENT_TYPE.decode()}\r\n"
        head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._late)

    def _late(self) -> None:
        if self.flow.read_paused:  # this side does not read: it still answers an earlier request
            self._wait()
        else:
            self.transport.close()

    def _done(self) -> None:
        self._unfinished = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
