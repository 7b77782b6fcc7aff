"""Serve this node's HTTP application to programs that the node has started, over connections that are open already.

A sandbox without a network reaches the application through the socket of its egress; `roost.sandbox.egress` hands such
requests on. Only the feature that started the program decides which requests are served: it changes their path, and
puts into `extra` what the handler must know of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import unquote

from roost.sandbox.proxy_request import Refused, Request, body_of

Message: TypeAlias = MutableMapping[str, Any]
App: TypeAlias = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]
CALLER = "roost.caller"
"""Entry of the ASGI scope by which a feature tells its door whose request it is. No request over the network has it."""
_NONE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


READY_SECONDS = 10.0
"""Sessions go on as soon as the node starts, and may need the application before it is built."""


class LocalHttp:
    """The application of this node; a program that serves no HTTP has none."""

    def __init__(self) -> None:
        self.app: App | None = None
        self._opened = asyncio.Event()

    def open(self, app: App) -> None:
        self.app = app
        self._opened.set()

    async def ready(self) -> bool:
        """Wait for the application. Returns whether there is one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_SECONDS):
                await self._opened.wait()
        return self.app is not None

    async def serve(
        self,
        request: Request,
        path: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        extra: Mapping[str, Any],
    ) -> None:
        """Answer one request as one for `path`. The caller closes the connection. extra: added to the ASGI scope.
        Raises `OSError` when the client has gone."""
        if self.app is None:
            writer.write(_NONE)
            await writer.drain()
            return
        exchange = _Exchange(request, reader, writer)
        whole, _, query = path.partition("?")
        scope: Message = {
            "type": "http",
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": unquote(whole),
            "raw_path": whole.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "headers": [(b"host", b"localhost"), *((key.lower(), value) for key, value in request.headers)],
            "client": None,
            **extra,
        }
        await self.app(scope, exchange.receive, exchange.send)


class _Exchange:
    """One request and its response on a connection, as ASGI has them."""

    def __init__(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._pieces = body_of(reader, request.length)
        self._reader, self._writer = reader, writer
        self._whole = self._chunked = False
        self._bare = request.method == "HEAD"

    async def receive(self) -> Message:
        if not self._whole:
            try:
                piece = await anext(self._pieces, None)
            except (Refused, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                return {"type": "http.disconnect"}
            self._whole = piece is None
            return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}
        with contextlib.suppress(OSError):
            while await self._reader.read(65536):  # what follows a request is no part of it
                pass
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        writer = self._writer
        if message["type"] == "http.response.start":
            headers = [(key, value) for key, value in message.get("headers", ()) if key.lower() != b"connection"]
            sized = any(key.lower() == b"content-length" for key, _ in headers)
            self._chunked = not (sized or self._bare)
            lines = [b"HTTP/1.1 %d -" % message["status"], *(key + b": " + value for key, value in headers)]
            if self._chunked:
                lines.append(b"Transfer-Encoding: chunked")
            writer.write(b"\r\n".join([*lines, b"Connection: close", b"", b""]))
        elif message["type"] == "http.response.body" and not self._bare:
            if body := message.get("body", b""):
                writer.write(b"%x\r\n%b\r\n" % (len(body), body) if self._chunked else body)
            if self._chunked and not message.get("more_body", False):
                writer.write(b"0\r\n\r\n")
        await writer.drain()
