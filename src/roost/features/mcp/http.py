"""The transports of a server that is an address: streamable HTTP, and the older one with server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urljoin, urlsplit

from roost.features.mcp.guard import Guard, client
from roost.features.mcp.messages import (
    MESSAGE_BYTES,
    Json,
    NeedsLogin,
    ServerError,
    ServerFailed,
    encode,
    is_answer,
    parse,
    result_of,
)
from roost.features.mcp.sse import Events
from roost.features.mcp.wire import Flood, Receive

if TYPE_CHECKING:
    import aiohttp

_RETRIES = 5
_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
_LISTEN = 3.0
_SESSION = "mcp-session-id"
_CHALLENGES = 3
"""Times that one request may answer a challenge: a token, more rights, a newer token."""


class Credentials(Protocol):
    """The right to call a server by HTTP."""

    async def headers(self) -> Mapping[str, str]:
        """Return the headers that carry it. Raises `ServerFailed`."""
        ...

    async def challenged(self, status: int, challenge: str) -> bool:
        """Take a response 401 or 403 and its `WWW-Authenticate`. Return whether the request may be sent again. Raises
        `NeedsLogin`, `ServerFailed`."""
        ...


class NoCredentials:
    """Headers that never change."""

    def __init__(self, headers: Callable[[], Mapping[str, str]]) -> None:
        self._headers = headers

    async def headers(self) -> Mapping[str, str]:
        return self._headers()

    async def challenged(self, status: int, challenge: str) -> bool:
        return False


class _Http:
    """What both transports share. url: where messages go."""

    def __init__(self, url: str, guard: Guard, credentials: Credentials) -> None:
        self._url, self._guard, self._credentials = url, guard, credentials
        self._flood = Flood()
        self._http: aiohttp.ClientSession | None = None

    async def open(self, receive: Receive) -> None:
        self._receive = receive
        await self._guard.check(self._url)
        self._http = client(self._guard)

    async def close(self) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    @asynccontextmanager
    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Send a request, again after a challenge that could be met. Raises `ServerFailed`, `NeedsLogin`."""
        import aiohttp

        if self._http is None:
            raise ServerFailed("it is closed")
        for attempt in range(_CHALLENGES + 1):
            given = {**await self._credentials.headers(), **headers}
            try:
                response = await self._http.request(method, url, headers=given, data=body, allow_redirects=False)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise ServerFailed(f"it cannot be reached: {error or type(error).__name__}", unsure=True) from None
            try:
                if response.status in (401, 403) and attempt < _CHALLENGES:
                    challenge = ", ".join(response.headers.getall("WWW-Authenticate", []))
                    if await self._credentials.challenged(response.status, challenge):
                        continue
                yield response
            finally:
                response.close()
            return

    async def _pieces(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """Yield the body. Raises `ServerFailed` when the connection breaks."""
        import aiohttp

        try:
            async for piece in response.content.iter_any():
                self._flood.count(len(piece))
                yield piece
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _Broken(f"the connection broke: {error or type(error).__name__}") from None

    async def _whole(self, response: aiohttp.ClientResponse) -> bytes:
        raw = bytearray()
        async for piece in self._pieces(response):
            raw += piece
            if len(raw) > MESSAGE_BYTES:
                raise ServerFailed(f"it sent a response of more than {MESSAGE_BYTES // 1024**2} MB")
        return bytes(raw)

    async def _refused(self, response: aiohttp.ClientResponse) -> None:
        """Raise the error of a response that is no success."""
        status = response.status
        if 300 <= status < 400:
            target = urljoin(self._url, response.headers.get("Location", ""))
            raise ServerFailed(f"it has moved to {target[:300]}: change its url")
        if status == 401:
            raise NeedsLogin("it wants a person to sign in")
        found = parse_or_none(await self._whole(response)) if _kind(response) == "application/json" else None
        if found is not None and is_answer(found):
            result_of(found, status=status)
        raise ServerError(0, f"it answered {status} {response.reason or ''}".rstrip(), status=status)


class _Broken(ServerFailed):
    """A stream broke off."""


def parse_or_none(raw: bytes) -> Json | None:
    """Return a message, or None for anything else."""
    try:
        return parse(raw)
    except ServerFailed:
        return None


def _kind(response: aiohttp.ClientResponse) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


class StreamableHttp(_Http):
    """Each message is a POST; the response of a request is one answer, or a stream that ends with it."""

    def __init__(self, url: str, guard: Guard, credentials: Credentials) -> None:
        super().__init__(url, guard, credentials)
        self._session: str | None = None
        self._version: Mapping[str, str] = {}
        self._handshake, self._listening = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Listen to what a server with a session says outside of responses, as long as it lets."""
        await self._handshake.wait()
        last = _Reading(self._receive, None)
        while self._session is not None:
            headers = {"Accept": "text/event-stream", **self._of_session()}
            if last.last is not None:
                headers["Last-Event-ID"] = last.last
            with contextlib.suppress(ServerFailed):  # calls go on without it
                async with self._exchange("GET", self._url, headers) as response:
                    self._listening.set()
                    if 400 <= response.status < 500:
                        break
                    if response.status < 300 and _kind(response) == "text/event-stream":
                        await self._read(response, last)
            await asyncio.sleep(min(last.pause, _LONGEST_PAUSE))
            last.pause = min(last.pause * 2, _LONGEST_PAUSE)
        await asyncio.Event().wait()

    async def send(self, message: Json, headers: Mapping[str, str]) -> None:
        given = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **headers}
        given |= self._of_session()
        id = message.get("id") if "method" in message else None
        if id is not None and self._handshake.is_set() and self._session is not None:
            await self._until_listening()
        async with self._exchange("POST", self._url, given, encode(message)) as response:
            if found := response.headers.get(_SESSION):
                self._session = found
            self._version = {name: value for name, value in headers.items() if name == "MCP-Protocol-Version"}
            if response.status >= 300:
                await self._refused(response)
            if id is None:
                if message.get("method") == "notifications/initialized":
                    self._handshake.set()
                return
            assert isinstance(id, int)
            if _kind(response) != "text/event-stream":
                self._answered(parse(await self._whole(response)), id)
                return
            reading = _Reading(self._receive, id)
            with contextlib.suppress(_Broken):
                await self._read(response, reading)
        await self._resume(reading)

    async def close(self) -> None:
        if self._http is not None and self._session is not None:
            with contextlib.suppress(ServerFailed, TimeoutError):
                async with asyncio.timeout(2.0), self._exchange("DELETE", self._url, self._of_session()):
                    pass
        await super().close()

    async def _until_listening(self) -> None:
        """Wait until what the server says outside of responses is heard: it may ask there, and then waits for ever."""
        if not self._listening.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._listening.wait(), _LISTEN)
            self._listening.set()

    def _of_session(self) -> dict[str, str]:
        return {} if self._session is None else {_SESSION: self._session, **self._version}

    def _answered(self, message: Json, id: int) -> None:
        if not is_answer(message):
            raise ServerFailed("it answered a request with something else", unsure=True)
        self._receive({**message, "id": id}, id)

    async def _read(self, response: aiohttp.ClientResponse, reading: _Reading) -> None:
        events = Events()
        async for piece in self._pieces(response):
            for event in events.feed(piece):
                self._flood.count(0)
                reading.last = event.id if event.id is not None else reading.last
                reading.pause = event.retry / 1000 if event.retry is not None else reading.pause
                if event.data and event.name == "message":
                    reading.take(parse(event.data))
            if reading.done:
                return

    async def _resume(self, reading: _Reading) -> None:
        """Go on with a stream that ended before its answer, where the server numbered its events."""
        attempts = 0
        while not reading.done:
            if reading.last is None or attempts == _RETRIES:
                raise ServerFailed("it ended the response without an answer", unsure=True)
            attempts += 1
            await asyncio.sleep(min(reading.pause, _LONGEST_PAUSE))
            headers = {"Accept": "text/event-stream", "Last-Event-ID": reading.last, **self._of_session()}
            try:
                async with self._exchange("GET", self._url, headers) as response:
                    if response.status >= 300:
                        raise ServerFailed("it ended the response without an answer", unsure=True)
                    await self._read(response, reading)
            except _Broken:
                continue


class _Reading:
    """The response stream of one request, or of none. last: the newest event. pause: seconds before a new attempt."""

    def __init__(self, receive: Receive, id: int | None) -> None:
        self._receive, self._id = receive, id
        self.last: str | None = None
        self.pause = _PAUSE
        self.done = False

    def take(self, message: Json) -> None:
        self.done = self.done or (self._id is not None and is_answer(message) and message.get("id") == self._id)
        self._receive(message, self._id)


class OldSse(_Http):
    """One stream for all messages of the server, which first names the address for those of the client."""

    def __init__(self, url: str, guard: Guard, credentials: Credentials) -> None:
        super().__init__(url, guard, credentials)
        self._target: asyncio.Future[str] | None = None

    async def open(self, receive: Receive) -> None:
        await super().open(receive)
        self._target = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        assert self._target is not None
        try:
            async with self._exchange("GET", self._url, {"Accept": "text/event-stream"}) as response:
                if response.status >= 300:
                    await self._refused(response)
                events = Events()
                async for piece in self._pieces(response):
                    for event in events.feed(piece):
                        self._flood.count(0)
                        if event.name == "endpoint" and not self._target.done():
                            self._target.set_result(self._endpoint(event.data))
                        elif event.name == "message" and event.data:
                            self._receive(parse(event.data), None)
            raise ServerFailed("it closed its stream", unsure=True)
        except (ServerFailed, ServerError) as error:
            if not self._target.done():
                self._target.set_exception(error)
                self._target.exception()
            raise ServerFailed(str(error)) from None

    async def send(self, message: Json, headers: Mapping[str, str]) -> None:
        assert self._target is not None
        target = await asyncio.shield(self._target)
        given = {"Content-Type": "application/json", **headers}
        async with self._exchange("POST", target, given, encode(message)) as response:
            if response.status >= 300:
                await self._refused(response)

    def _endpoint(self, said: str) -> str:
        found = urljoin(self._url, said)
        if urlsplit(found)[:2] != urlsplit(self._url)[:2]:
            raise ServerFailed(f"it wants messages sent to another place: {found[:300]}")
        return found
