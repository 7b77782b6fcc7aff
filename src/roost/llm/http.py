"""The HTTP client of the model wires: pooled, streaming, lazy, with few kinds of failure."""

from __future__ import annotations

import asyncio
import importlib
import io
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from roost.errors import RoostError

if TYPE_CHECKING:
    import aiohttp

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PIECEWISE = 64 * 1024
"""Bytes of a body that the transport takes at once, whatever the server does."""


class HttpFailed(RoostError):
    """The connection was refused, reset or closed early. `retryable` says whether another try may go through, `unsent`
    that no server can have seen anything of the request."""

    code, status = "connection", 502
    retryable = True
    unsent = False


class HttpUnreachable(HttpFailed):
    """No connection came about."""

    unsent = True


class HttpTimeout(HttpFailed):
    """Nothing came for too long, or the server did not take the connection in time."""

    code, status = "timeout", 504


class HttpMalformed(HttpFailed):
    """What came is not what the protocol allows."""

    code = "malformed"


class HttpUnusable(HttpFailed):
    """The URL, the headers or the certificate cannot work, however often one tries."""

    retryable = False
    unsent = True


class HttpResponse:
    """An answer whose body is read while it comes. Raises `HttpFailed` and its kinds only."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        """The bytes that are there, at least one; empty at the end of the body."""
        try:
            return await self._response.content.readany()
        except Exception as error:  # whatever the library raises becomes one of ours
            raise _normalised(error) from error

    async def read_all(self, cap: int) -> bytes:
        """The rest of the body, cut at `cap` bytes."""
        pieces: list[bytes] = []
        size = 0
        while size < cap and (data := await self.read()):
            pieces.append(data)
            size += len(data)
        return b"".join(pieces)[:cap]


class HttpClient:
    """A pool of connections for one event loop. Making one costs nothing: the library is loaded by the first request.

    `connect_timeout` and `idle_timeout` (the longest silence while reading) are in seconds. With `proxies` a proxy of
    the environment (`HTTPS_PROXY`, `NO_PROXY`) is used, except for the loopback. Redirects are not followed.
    """

    def __init__(
        self,
        *,
        connect_timeout: float = 10.0,
        idle_timeout: float = 120.0,
        max_connections: int = 512,
        proxies: bool = True,
    ) -> None:
        self._connect_timeout = connect_timeout
        self._idle_timeout = idle_timeout
        self._max_connections = max_connections
        self._proxies = proxies
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        idle_timeout: float | None = None,
    ) -> AsyncGenerator[HttpResponse]:
        """Leaving the block, by whatever way, closes a connection whose answer was not read to its end."""
        session, timeout = await self._ready(idle_timeout)
        # A server may have closed the connection of the last call (llama.cpp's does after each stream): the loop must
        # see that, and then tell the pool, before the connection is taken again.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        proxy = _proxy(url) if self._proxies else None
        try:
            async with asyncio.timeout(None) as timer:
                data = body if body is None or len(body) <= _PIECEWISE else _Upload(body, timer, timeout.sock_read)
                response = await session.request(
                    method, url, data=data, headers=headers, timeout=timeout, proxy=proxy, allow_redirects=False
                )
                if isinstance(data, _Upload):
                    data.answered = True
        except Exception as error:  # whatever the library raises becomes one of ours
            raise _normalised(error) from error
        try:
            yield HttpResponse(response)
        finally:
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    async def prepare(self) -> None:
        """Load the library now, so that the first request need not wait for it."""
        await self._ready(None)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ready(self, idle_timeout: float | None) -> tuple[aiohttp.ClientSession, aiohttp.ClientTimeout]:
        # The import takes some 0.4 s of CPU: in a thread the loop goes on between its slices.
        if self._session is None:
            await asyncio.to_thread(importlib.import_module, "aiohttp")
        import aiohttp

        loop = asyncio.get_running_loop()
        if self._session is None or self._session.closed or self._loop is not loop:
            connector = aiohttp.TCPConnector(limit=self._max_connections)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
            self._loop = loop
        idle = self._idle_timeout if idle_timeout is None else idle_timeout
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout, sock_read=idle)
        return self._session, timeout


def is_loopback(url: str) -> bool:
    try:
        return urlsplit(url).hostname in LOOPBACK
    except ValueError:
        return False


def _proxy(url: str) -> str | None:
    from urllib.request import getproxies_environment, proxy_bypass

    if is_loopback(url) or not (proxies := getproxies_environment()):
        return None
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return proxies.get(parts.scheme) or proxies.get("all")


class _Upload(io.BytesIO):
    """A body that is written in pieces, with the loop free between them. The library's own limit on silence begins when
    all is written: until then `timer` ends a call whose server takes nothing for `idle` seconds."""

    def __init__(self, body: bytes, timer: asyncio.Timeout, idle: float | None) -> None:
        super().__init__(body)
        self._timer = timer
        self._idle = idle
        self.answered = False

    def read(self, size: int | None = -1) -> bytes:
        piece = super().read(size)
        if not self.answered:
            at = asyncio.get_running_loop().time() + self._idle if piece and self._idle else None
            self._timer.reschedule(at)
        return piece


def _normalised(error: Exception) -> HttpFailed:
    import aiohttp

    said = str(error) or type(error).__name__
    match error:
        case TimeoutError():
            return HttpTimeout(f"the server was silent for too long: {said}")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return HttpUnusable("the model's URL is not a valid http or https URL; correct its base URL")
        case aiohttp.ClientConnectorCertificateError():
            return HttpUnusable(f"no trusted TLS connection: {said}")
        case aiohttp.ClientConnectorError():
            return HttpUnreachable(f"cannot connect: {said}")
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError() | OSError():
            return HttpFailed(f"the connection broke before the answer was whole: {said}")
        case aiohttp.ClientResponseError():
            said = " ".join(error.message.split())
            return HttpMalformed(f"the server does not speak HTTP as expected: {said}")
        case ValueError():
            return HttpUnusable("the request's headers or URL are not valid; check the key and the base URL")
        case _:
            return HttpFailed(f"the request failed: {type(error).__name__}: {said}")
