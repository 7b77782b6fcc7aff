"""The HTTP client of the model wires: pooled, streaming, lazy, with few kinds of failure."""

from __future__ import annotations

import asyncio
import importlib
import io
import os
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from roost.errors import RoostError

if TYPE_CHECKING:
    import ssl

    import aiohttp

OVERSIZED = "oversized"
"""The code of an answer without end: asking for it again would be paid again."""
_STALE = 8
"""Connections of the pool that may turn out to be dead before a request is given up."""
_STALE_SECONDS = 1.0
"""How soon a dead connection shows. Later a server has begun to work on the request, and would be paid twice."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
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


class HttpOversized(HttpFailed):
    """More came than any answer has."""

    code = OVERSIZED
    retryable = False


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
    the environment (`HTTPS_PROXY`, `NO_PROXY`) is used, except for the loopback. Certificates are checked against the
    system's, `SSL_CERT_FILE`, and `REQUESTS_CA_BUNDLE` or `CURL_CA_BUNDLE`. Redirects are not followed.

    A server may have closed a kept connection since its last answer. A request that dies on one before a byte of an
    answer is sent again at once on another, at last on a fresh one.
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
        self._trusted: dict[str, ssl.SSLContext] = {}
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
        ca: str | None = None,
    ) -> AsyncGenerator[HttpResponse]:
        """Leaving the block, by whatever way, closes a connection whose answer was not read to its end. `ca`: a file of
        certificates that are trusted beside the system's."""
        session, timeout = await self._ready(idle_timeout)
        # A server may have closed the connection of the last call (llama.cpp's does after each stream): the loop must
        # see that, and then tell the pool, before the connection is taken again.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        try:
            options: dict[str, Any] = {
                "headers": headers, "timeout": timeout, "proxy": _proxy(url) if self._proxies else None,
                "ssl": await self._trust(ca) or True, "allow_redirects": False,
            }  # fmt: skip
            response = await _sent(session, method, url, body, options, timeout.sock_read)
        except HttpFailed:
            raise
        except Exception as error:  # whatever the library raises becomes one of ours
            raise _normalised(error) from error
        try:
            yield HttpResponse(response)
        finally:
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    async def _trust(self, ca: str | None) -> ssl.SSLContext | None:
        """None for the library's own. Raises `HttpUnusable` for a file that cannot be read."""
        files = tuple(filter(None, (ca, *map(os.environ.get, _BUNDLES))))
        if not files:
            return None
        if (known := self._trusted.get("\n".join(files))) is None:
            known = self._trusted["\n".join(files)] = await asyncio.to_thread(_trusting, files)
        return known

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
            traces = [_reuse_trace()]
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trace_configs=traces
            )
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
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and not proxy.lower().startswith(("http://", "https://")):
        kind = proxy.partition("://")[0]
        raise HttpUnusable(
            f"the proxy of the environment is of the kind {kind!r}: only http and https proxies are used"
        )
    return proxy


def _trusting(files: tuple[str, ...]) -> ssl.SSLContext:
    import ssl

    context = ssl.create_default_context()
    for file in files:
        try:
            if os.path.isdir(file):
                context.load_verify_locations(capath=file)
            else:
                context.load_verify_locations(cafile=file)
        except (OSError, ValueError) as error:
            raise HttpUnusable(f"the file of certificates {file!r} cannot be read: {error}") from error
    return context


def _reuse_trace() -> aiohttp.TraceConfig:
    """Tell each request's context (`_Reuse`) whether it got a kept connection."""
    import aiohttp

    async def reused(_: Any, context: Any, __: Any) -> None:
        if isinstance(context.trace_request_ctx, _Reuse):
            context.trace_request_ctx.yes = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(reused)
    return trace


class _Reuse:
    yes = False


async def _sent(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    body: bytes | None,
    options: dict[str, Any],
    idle: float | None,
) -> aiohttp.ClientResponse:
    """Send the request, again where a kept connection was dead. Raises what the library raises."""
    import aiohttp

    for left in range(_STALE, -1, -1):
        reuse, began = _Reuse(), time.monotonic()
        try:
            async with asyncio.timeout(None) as timer:
                data = body if body is None or len(body) <= _PIECEWISE else _Upload(body, timer, idle)
                response = await session.request(method, url, data=data, trace_request_ctx=reuse, **options)
                if isinstance(data, _Upload):
                    data.answered = True
                return response
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if not reuse.yes or not left or time.monotonic() - began > _STALE_SECONDS:
                raise
    raise AssertionError("unreachable")


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
