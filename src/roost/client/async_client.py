"""`Client`: every operation of the API, streams, and `ask`.

`sync_client.py` is made from this file by `python -m tools.sync_client`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec

from roost.client.connection import Connection
from roost.client.daemon_address import Endpoint, Locate, at_url, of_home, token_of
from roost.client.http1 import BadResponse, ResponseReader, head
from roost.client.requests import ApiError, Request, Unreachable, refusal, remote, request_of, result_of
from roost.client.rooms import Rooms
from roost.operation import Download, Operation

if TYPE_CHECKING:
    from roost.client.answers import Answer, Decide
    from roost.client.frames import StreamItem
    from roost.log.frames import Frame

SILENCE = 45.0
"""Seconds without data after which a stream's connection is dead: three missed pings."""
SLOW = 600.0
"""Seconds for which a daemon may work on a file without sending anything."""


class Response(Protocol):
    """A response that has begun. Read `chunks` to their end, or `close`."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def chunks(self) -> AsyncGenerator[bytes]: ...

    def close(self) -> None: ...


class Transport(Protocol):
    """Sends requests: over a socket, or to an application in this process."""

    async def send(self, request: Request, *, timeout: float | None = None) -> Response:
        """Send a request and return its response once its head has come. Raises `Unreachable`."""
        ...

    async def aclose(self) -> None: ...


class _SocketResponse:
    """`free`: called once with whether the connection takes another request. By then another response may have it."""

    def __init__(self, connection: Connection, free: Callable[[Connection, bool], None]) -> None:
        self._connection, self._free, self._reader = connection, free, ResponseReader()
        self._first, self._closed = b"", False

    async def begin(self) -> None:
        while self._reader.status is None:
            self._first = self._reader.feed(await self._connection.read())

    @property
    def status(self) -> int:
        return self._reader.status or 0

    @property
    def headers(self) -> Mapping[str, str]:
        return self._reader.headers

    async def chunks(self) -> AsyncGenerator[bytes]:
        yield self._first
        while not self._reader.done:
            yield self._reader.feed(await self._connection.read())
        self.close()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._free(self._connection, self._reader.done and self._reader.reusable)


class SocketTransport:
    """Speaks HTTP/1.1 to a daemon over kept connections. A repeatable request whose connection broke is sent once more,
    to wherever the daemon is then. `timeout`: seconds without any data."""

    def __init__(self, locate: Locate, *, timeout: float = 60.0) -> None:
        self._locate, self._timeout = locate, timeout
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._closed = False
        self._endpoint: Endpoint | None = None

    async def send(self, request: Request, *, timeout: float | None = None) -> Response:
        for last in (False, True):
            if self._closed:
                raise Unreachable("the client is closed", code="closed")
            connection, endpoint = await self._connect(timeout)
            self._busy.add(connection)
            try:
                await self._write(connection, request, endpoint)
                response = _SocketResponse(connection, self._free)
                await response.begin()
                return response
            except (OSError, BadResponse) as error:
                self._free(connection, False)
                self._endpoint = None
                if last or not request.repeatable:
                    raise Unreachable(f"the connection to {endpoint.url} broke: {error or 'it closed'}") from error
            except BaseException:
                self._free(connection, False)
                raise
        raise AssertionError("unreachable")

    async def _connect(self, timeout: float | None) -> tuple[Connection, Endpoint]:
        """Return a kept connection or a new one. Looks up the daemon again when it left its last address."""
        if self._endpoint is not None:
            if self._idle and timeout is None:
                return self._idle.pop(), self._endpoint
            with contextlib.suppress(Unreachable):
                return await Connection.open(self._endpoint, timeout or self._timeout), self._endpoint
        self._endpoint = None
        endpoint = self._locate()
        connection = await Connection.open(endpoint, timeout or self._timeout)
        self._endpoint = endpoint
        return connection, endpoint

    async def _write(self, connection: Connection, request: Request, endpoint: Endpoint) -> None:
        method, body, whole = request.operation.method, request.body, request.body is None
        headers = request.headers | ({"authorization": f"Bearer {endpoint.token}"} if endpoint.token else {})
        if isinstance(body, bytes) or (whole and method != "GET"):
            headers["content-length"] = str(len(body or b""))
        elif not whole:
            headers["transfer-encoding"] = "chunked"
        start = head(method, request.target, endpoint.host, headers)
        if whole or isinstance(body, bytes):
            await connection.write(start + (body or b""))
            return
        await connection.write(start)
        async for chunk in body:
            if chunk:
                await connection.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        await connection.write(b"0\r\n\r\n")

    def _free(self, connection: Connection, reusable: bool) -> None:
        if connection in self._busy:
            self._busy.discard(connection)
            if reusable and not self._closed and connection.timeout == self._timeout:
                self._idle.append(connection)
            else:
                connection.close()

    async def aclose(self) -> None:
        """Close the connections; streams that are read end."""
        self._closed = True
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._idle.clear()


class Client(Rooms):
    """A client of a daemon, or of an application in this process.

    The operations are grouped as in the reference: `client.sessions.create(...)`, `client.schedules.list()`. Each
    raises `ApiError` with the daemon's own code, and `Unreachable`. Close it with `aclose`, or use `async with`.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    @classmethod
    def at(cls, url: str, *, token: str | None = None, timeout: float = 60.0) -> Client:
        """Return a client of the daemon at a URL. Connects at the first call."""
        endpoint = at_url(url, token)
        return cls(SocketTransport(lambda: endpoint, timeout=timeout))

    @classmethod
    def of(cls, home: Path | str, *, timeout: float = 60.0) -> Client:
        """Return a client of the daemon that runs on a home of this machine."""
        folder = Path(home).expanduser()
        return cls(SocketTransport(lambda: of_home(folder, token_of(folder)), timeout=timeout))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self.transport.aclose()

    def _room(self, module: str, name: str) -> Any:
        return remote(getattr(import_module(module), name), self._call)

    async def _call(self, operation: Operation, args: tuple[Any, ...], given: Mapping[str, Any]) -> Any:
        file = operation.function.__annotations__["return"].startswith("Download")
        slow = file or operation.content is not None or operation.slow
        response = await self.transport.send(request_of(operation, args, given), timeout=SLOW if slow else None)
        if file and response.status == 200:
            report = msgspec.json.decode(response.headers.get("roost-report", "null"))
            size, kind = int(response.headers["content-length"]), response.headers.get("content-type", "")
            return Download(report, size, kind, response.chunks(), response.close)
        return result_of(operation, response.status, await _body(response))

    async def frames(
        self,
        session: str,
        *,
        after: int = 0,
        deltas: bool = True,
        patience: float = 60.0,
        on_gap: Callable[[bool], None] = lambda _: None,
        known: bool = False,
    ) -> AsyncGenerator[Frame]:
        """Yield a session's frames: every event once and in order, deltas between them.

        A lost connection is resumed at the last event for up to `patience` seconds. `on_gap` is called with True when
        the connection is lost and with False when it is back. Ends when the session is deleted. Raises `ApiError`, and
        `Unreachable` when the patience is over. `known`: daemon and session existed a moment ago.
        """
        from roost.client.frames import FrameReader, Resuming

        reader, resuming = FrameReader(after), Resuming(patience, on_gap, known=known)
        while True:
            try:
                async with contextlib.aclosing(self._connected(session, reader, resuming, deltas=deltas)) as frames:
                    async for frame in frames:
                        yield frame
            except ApiError as error:
                if resuming.known and error.status == 404:
                    return
                if error.status < 500:
                    raise
            except Unreachable as error:
                if error.code == "closed":
                    return
                if not resuming.known:
                    raise
            except (OSError, BadResponse):
                pass  # a broken connection is what this loop is for
            await asyncio.sleep(resuming.pause())

    async def _connected(self, session: str, reader: Any, resuming: Any, *, deltas: bool) -> AsyncGenerator[Frame]:
        """Yield the frames of one connection."""
        from roost.api.sessions import SessionsApi
        from roost.operation import operations

        events = next(one for one in operations(SessionsApi) if one.name == "events")
        request = request_of(events, (session,), {})
        headers = request.headers | {"accept": "text/event-stream", "last-event-id": str(reader.after)}
        target = request.target if deltas else f"{request.target}?deltas=false"
        response = await self.transport.send(request._replace(target=target, headers=headers), timeout=SILENCE)
        try:
            if response.status != 200:
                raise refusal(response.status, await _body(response))
            resuming.connected()
            reader.restart()
            async for chunk in response.chunks():
                for frame in reader.feed(chunk):
                    yield frame
        finally:
            response.close()

    async def stream(
        self, session: str, *, after: int = 0, deltas: bool = True, patience: float = 60.0
    ) -> AsyncGenerator[StreamItem]:
        """Yield a session's events, each once and in order, and the deltas of the step in progress between them. An
        event that only a newer Roost knows is left out. Otherwise as `frames`."""
        from roost.client.frames import item_of
        from roost.errors import UnknownEvent

        async for frame in self.frames(session, after=after, deltas=deltas, patience=patience):
            with contextlib.suppress(UnknownEvent):
                yield item_of(frame)

    async def ask(
        self,
        session: str,
        text: str,
        *,
        on_delta: Callable[[str], None] = lambda _: None,
        on_approval: Decide | None = None,
        patience: float = 60.0,
    ) -> Answer:
        """Send a message and return the answer, once the turn that took it in has ended.

        on_delta: gets the answer's text piece by piece.
        on_approval: decides about each call that waits for a person; None leaves it to others. Without it the answer
            comes when another client has decided.
        """
        from roost.client.answers import Answering

        sent = await self.inputs.send(session, text)
        turn, asked = Answering(sent.input, on_delta), set[tuple[str, str, int]]()
        items = self.stream(session, after=sent.head, patience=patience)
        async with contextlib.aclosing(items) as items:
            async for item in items:
                if turn.take(item) and on_approval is not None:
                    await self._decide(session, on_approval, asked)
                if turn.answer is not None:
                    return turn.answer
        raise ApiError(f"session {session!r} was deleted before it answered", code="session_deleted", status=404)

    async def _decide(self, session: str, decide: Decide, asked: set[tuple[str, str, int]]) -> None:
        for waiting in (await self.approvals.waiting(session)).approvals:
            question = (waiting.session, waiting.call, waiting.asked)
            if question in asked:
                continue
            asked.add(question)
            decision = await decide(waiting)
            if decision is None:
                continue
            try:
                await self.approvals.answer(waiting.session, waiting.call, decision, asked=waiting.asked)
            except ApiError as error:
                if error.code != "not_waiting":  # another client was first
                    raise


async def _body(response: Response) -> bytes:
    try:
        return b"".join([chunk async for chunk in response.chunks()])
    except (OSError, BadResponse) as error:
        response.close()
        raise Unreachable(f"the connection broke within the response: {error}") from error
