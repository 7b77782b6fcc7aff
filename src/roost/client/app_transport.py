"""Ask an application in this process, as if it were behind a socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import unquote

from roost.client.requests import Request, Unreachable

if TYPE_CHECKING:
    from roost.client.async_client import Response, Transport
    from roost.client.sync_client import SyncResponse

T = TypeVar("T")
Message: TypeAlias = MutableMapping[str, Any]
App: TypeAlias = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]
_WAITING = 16
"""Messages of a response that wait for their reader; then the application waits."""


class AppResponse:
    """A response of the application. Read `chunks` to their end, or `close`."""

    def __init__(self, app: App, scope: Message, body: Any) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue(_WAITING)
        self._body = _pieces(body)
        self._left = asyncio.Event()
        self._sent = False
        self._task = asyncio.get_running_loop().create_task(self._run(app, scope))

    async def begin(self) -> None:
        message = await self._messages.get()
        if message is None:
            await self._task
            raise RuntimeError("the application ended without a response")
        self.status = message["status"]
        self.headers = {name.decode().lower(): value.decode("latin-1") for name, value in message.get("headers", ())}

    async def chunks(self) -> AsyncGenerator[bytes]:
        try:
            while (message := await self._messages.get()) is not None:
                if body := message.get("body"):
                    yield body
            if not self._left.is_set():
                await self._task
        finally:
            self.close()

    @property
    def ended(self) -> bool:
        return self._task.done()

    def close(self) -> None:
        """Leave, as a client that disconnects. Ends the reading of `chunks`."""
        self._left.set()
        self._task.cancel()
        while not self._messages.empty():
            self._messages.get_nowait()
        self._messages.put_nowait(None)

    async def _run(self, app: App, scope: Message) -> None:
        try:
            await app(scope, self._receive, self._messages.put)
        finally:
            if not self._left.is_set():
                await self._messages.put(None)

    async def _receive(self) -> Message:
        if not self._sent:
            chunk = await anext(self._body, None)
            self._sent = chunk is None
            return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}
        await self._left.wait()
        return {"type": "http.disconnect"}


class AppTransport:
    """Sends requests to an ASGI application on the running event loop."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._open: set[AppResponse] = set()
        self._closed = False

    async def send(self, request: Request, *, timeout: float | None = None) -> AppResponse:
        if self._closed:
            raise Unreachable("the client is closed", code="closed")
        path, _, query = request.target.partition("?")
        headers = request.headers | {"host": "localhost"}
        if isinstance(request.body, bytes):
            headers["content-length"] = str(len(request.body))
        elif request.body is not None:
            headers["transfer-encoding"] = "chunked"
        scope: Message = {
            "type": "http",
            "http_version": "1.1",
            "method": request.operation.method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
        }
        response = AppResponse(self._app, scope, request.body)
        self._open = {one for one in self._open if not one.ended} | {response}
        try:
            await response.begin()
        except BaseException:
            response.close()
            raise
        return response

    async def aclose(self) -> None:
        """End the streams that are read."""
        self._closed = True
        for response in self._open:
            response.close()


class LoopResponse:
    """A response of an event loop in another thread, for a thread that blocks."""

    def __init__(self, response: Response, loop: asyncio.AbstractEventLoop) -> None:
        self.status, self.headers = response.status, response.headers
        self._response, self._loop = response, loop

    def chunks(self) -> Generator[bytes]:
        chunks = self._response.chunks()
        while (chunk := _wait(lambda: anext(chunks, None), self._loop)) is not None:
            yield chunk

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._response.close)


class LoopTransport:
    """Lets threads that block use a transport of an event loop that runs in another thread."""

    def __init__(self, transport: Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop

    def send(self, request: Request, *, timeout: float | None = None) -> SyncResponse:
        return LoopResponse(_wait(lambda: self._transport.send(request, timeout=timeout), self._loop), self._loop)

    def close(self) -> None:
        _wait(self._transport.aclose, self._loop)


def _wait(work: Callable[[], Awaitable[T]], loop: asyncio.AbstractEventLoop) -> T:
    """Await on the loop from another thread. Raises `Unreachable` if the loop is closed."""

    async def run() -> T:
        return await work()

    running = run()
    try:
        future = asyncio.run_coroutine_threadsafe(running, loop)
    except RuntimeError:  # the process ends: a stream may outlive the loop
        running.close()
        raise Unreachable("the client is closed", code="closed") from None
    return future.result()


async def _pieces(body: Any) -> AsyncGenerator[bytes]:
    if isinstance(body, bytes):
        yield body
    elif hasattr(body, "__aiter__"):
        async for chunk in body:
            yield chunk
    else:
        for chunk in body or ():
            yield chunk
