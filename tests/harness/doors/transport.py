"""How the clients of doors reach a node: over loopback, or within one process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec
from starlette.types import ASGIApp

Headers = Sequence[tuple[str, str]]


class Heard(msgspec.Struct):
    """A response, as far as it came."""

    status: int = 0
    headers: dict[str, str] = {}
    body: bytes = b""

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Cut(Exception):
    """The connection ended, or the node was not able to answer, before the response was whole. heard: as far as it
    came."""

    def __init__(self, heard: Heard, why: str) -> None:
        super().__init__(why)
        self.heard = heard


class Socket(Protocol):
    """A WebSocket. Both methods raise `Cut`."""

    async def send(self, message: Any) -> None: ...

    async def read(self) -> Any: ...


class Open(Protocol):
    """A stream that the client keeps open."""

    async def read(self) -> bytes:
        """Return the next piece. Raises `Cut`."""
        ...

    async def leave(self) -> None: ...


class Http(Protocol):
    """One way to a node, or to any of several."""

    async def ask(
        self, method: str, path: str, body: Any = None, headers: Headers = (), *, until: bytes | None = None
    ) -> Heard:
        """Send a request. until: what the body ends with for this client, which then leaves. Raises `Cut`."""
        ...

    async def open(self, path: str, headers: Headers = ()) -> Open:
        """Open a stream. Raises `Cut`."""
        ...

    def websocket(self, path: str, protocol: str) -> contextlib.AbstractAsyncContextManager[Socket]: ...


class Address(NamedTuple):
    host: str
    port: int
    token: str | None


class Loopback:
    """A new connection for each request. silence: seconds without a byte, after which the client leaves."""

    def __init__(self, address: Callable[[], Address], *, silence: float = 60.0) -> None:
        self._address, self._silence = address, silence

    async def ask(
        self, method: str, path: str, body: Any = None, headers: Headers = (), *, until: bytes | None = None
    ) -> Heard:
        wire = await self._connect()
        try:
            await wire.begin(method, path, body, headers)
            heard = wire.heard
            if "content-length" in heard.headers:
                heard.body = await wire.exactly(int(heard.headers["content-length"]))
                return _whole(heard, until)
            while piece := await wire.piece():
                heard.body += piece
                if until is not None and until in heard.body[-len(piece) - len(until) :]:
                    break
            return _whole(heard, until)
        finally:
            await wire.leave()

    async def open(self, path: str, headers: Headers = ()) -> Open:
        wire = await self._connect()
        try:
            await wire.begin("GET", path, None, [("accept", "text/event-stream"), *headers])
            if wire.heard.status >= 300:
                raise Cut(wire.heard, f"answer {wire.heard.status}")
        except BaseException:
            await wire.leave()
            raise
        return wire

    async def _connect(self) -> _Wire:
        host, port, token = self._address()
        try:
            async with asyncio.timeout(self._silence):
                reader, writer = await asyncio.open_connection(host, port, limit=1 << 20)
        except (OSError, TimeoutError) as error:
            raise Cut(Heard(), f"no connection: {error!r}") from None
        return _Wire(reader, writer, token, self._silence)

    @contextlib.asynccontextmanager
    async def websocket(self, path: str, protocol: str) -> AsyncGenerator[Socket]:
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException
        from websockets.typing import Subprotocol

        host, port, token = self._address()
        headers = {"authorization": f"Bearer {token}"}
        try:
            link = await connect(
                f"ws://{host}:{port}{path}",
                subprotocols=[Subprotocol(protocol)],
                additional_headers=headers,
                compression=None,
                proxy=None,
                open_timeout=self._silence,
                close_timeout=0.1,
            )
        except (OSError, TimeoutError, EOFError, WebSocketException) as error:
            raise Cut(Heard(), f"no connection: {error!r}") from None
        try:
            yield _Link(link, self._silence)
        finally:
            link.transport.abort()


class _Wire:
    """A connection that has one request."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str | None, silence: float
    ) -> None:
        self.heard = Heard()
        self._reader, self._writer, self._token, self._silence = reader, writer, token, silence

    async def begin(self, method: str, path: str, body: Any, headers: Headers) -> None:
        """Send the request, and read the head of the response. Raises `Cut`."""
        self._writer.write(_request(method, path, body, [("authorization", f"Bearer {self._token}"), *headers]))
        head = await self._patiently(self._reader.readuntil(b"\r\n\r\n"))
        first, *lines = head.decode("latin-1").split("\r\n")
        self.heard.status = int(first.split()[1])
        pairs = (line.partition(":") for line in lines if line)
        self.heard.headers = {name.lower(): value.strip() for name, _, value in pairs}

    async def exactly(self, size: int) -> bytes:
        return await self._patiently(self._reader.readexactly(size))

    async def piece(self) -> bytes:
        """Return the next chunk, empty at the end. Raises `Cut`."""
        size = int(await self._patiently(self._reader.readuntil(b"\r\n")), 16)
        return (await self.exactly(size + 2))[:-2]

    async def read(self) -> bytes:
        if not (piece := await self.piece()):
            raise Cut(self.heard, "the stream ended")
        return piece

    async def leave(self) -> None:
        self._writer.transport.abort()

    async def _patiently(self, reading: Coroutine[Any, Any, bytes]) -> bytes:
        try:
            async with asyncio.timeout(self._silence):
                return await reading
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as error:
            raise Cut(self.heard, f"cut off: {error!r}") from None


class _Link:
    def __init__(self, link: Any, silence: float) -> None:
        self._link, self._silence = link, silence

    async def send(self, message: Any) -> None:
        await self._patiently(self._link.send(json.dumps(message)))

    async def read(self) -> Any:
        return msgspec.json.decode(await self._patiently(self._link.recv()))

    async def _patiently(self, work: Any) -> Any:
        from websockets.exceptions import ConnectionClosed

        try:
            async with asyncio.timeout(self._silence):
                return await work
        except (OSError, TimeoutError, ConnectionClosed) as error:
            raise Cut(Heard(), f"cut off: {error!r}") from None


class Within:
    """Calls an application in this process, without a socket or a parser of HTTP."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def ask(
        self, method: str, path: str, body: Any = None, headers: Headers = (), *, until: bytes | None = None
    ) -> Heard:
        data = b"" if body is None else msgspec.json.encode(body)
        heard, parts, left = Heard(), list[bytes](), asyncio.Event()
        requests = iter([{"type": "http.request", "body": data, "more_body": False}])

        async def receive() -> Any:
            if (message := next(requests, None)) is not None:
                return message
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                heard.status = message["status"]
                heard.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
                return
            parts.append(message.get("body", b""))
            if until is not None and until in parts[-1]:
                left.set()

        given = [("content-length", str(len(data))), *headers]
        await self._app({**_scope("http", path, given), "method": method}, receive, send)
        left.set()
        heard.body = b"".join(parts)
        return _whole(heard, until)

    async def open(self, path: str, headers: Headers = ()) -> Open:
        stream = _Stream()
        scope = {**_scope("http", path, [("content-length", "0"), *headers]), "method": "GET"}
        stream.serving = asyncio.ensure_future(self._app(scope, stream.receive, stream.send))
        return stream

    @contextlib.asynccontextmanager
    async def websocket(self, path: str, protocol: str) -> AsyncGenerator[Socket]:
        given, got = asyncio.Queue[Any](), asyncio.Queue[Any]()
        given.put_nowait({"type": "websocket.connect"})
        scope = {**_scope("websocket", path, ()), "subprotocols": [protocol]}
        serving = asyncio.ensure_future(self._app(scope, given.get, _giver(got)))
        try:
            assert (await got.get())["type"] == "websocket.accept"
            yield _Queues(given, got)
        finally:
            given.put_nowait({"type": "websocket.disconnect", "code": 1000})
            await serving


_MOMENT = 0.01


class _Stream:
    serving: asyncio.Future[None]

    def __init__(self) -> None:
        self._pieces, self._come = list[bytes](), asyncio.Event()
        self._left, self._asked = asyncio.Event(), False

    async def receive(self) -> Any:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] < 300, message
        elif message.get("body"):
            self._pieces.append(message["body"])
            self._come.set()

    async def read(self) -> bytes:
        """Return all that came within a moment: waking for each piece would be measured with the server."""
        await self._come.wait()
        await asyncio.sleep(_MOMENT)
        self._come.clear()
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)

    async def leave(self) -> None:
        self._left.set()
        await self.serving


class _Queues:
    def __init__(self, given: asyncio.Queue[Any], got: asyncio.Queue[Any]) -> None:
        self._given, self._got = given, got

    async def send(self, message: Any) -> None:
        self._given.put_nowait({"type": "websocket.receive", "text": msgspec.json.encode(message).decode()})

    async def read(self) -> Any:
        message = await self._got.get()
        if message["type"] != "websocket.send":
            raise Cut(Heard(), f"closed: {message}")
        return msgspec.json.decode(message["text"])


def _giver(got: asyncio.Queue[Any]) -> Callable[[Any], Coroutine[Any, Any, None]]:
    async def send(message: Any) -> None:
        got.put_nowait(message)

    return send


def _scope(kind: str, path: str, headers: Headers) -> dict[str, Any]:
    path, _, query = path.partition("?")
    given = [("host", "localhost"), ("content-type", "application/json"), *headers]
    return {
        "type": kind,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in given],
    }


def _request(method: str, path: str, body: Any, headers: Headers) -> bytes:
    data = b"" if body is None else msgspec.json.encode(body)
    given = [("host", "localhost"), ("content-type", "application/json"), ("content-length", str(len(data))), *headers]
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given)]
    return "\r\n".join([*lines, "", ""]).encode() + data


def _whole(heard: Heard, until: bytes | None) -> Heard:
    """Return the response. Raises `Cut` for one that says to try again, and for a stream that ended too early; and
    `AssertionError` for a defect."""
    assert heard.status != 500, f"answer 500: {heard.body[:500]!r}"
    if heard.status >= 500 or heard.status == 429:
        raise Cut(heard, f"answer {heard.status}: {heard.body[:300]!r}")
    if heard.status < 300 and until is not None and until not in heard.body:
        raise Cut(heard, f"the stream ended: {heard.body[-300:]!r}")
    return heard


class Parsing:
    """seconds: CPU time that clients have spent on reading events. A measurement of the server leaves it out."""

    seconds = 0.0


def events(heard: Heard) -> list[tuple[str, Any]]:
    """Return the events of a stream that came whole, each with its id."""
    began = time.thread_time()
    found: list[tuple[str, Any]] = []
    for block in heard.body.split(b"\n\n")[:-1]:
        id, data = "", b""
        for line in block.splitlines():
            name, _, value = line.partition(b":")
            if name == b"id":
                id = value.strip().decode()
            elif name == b"data":
                data = value.strip()
        if data.startswith((b"{", b"[{")):
            found.append((id, msgspec.json.decode(data)))
    Parsing.seconds += time.thread_time() - began
    return found
