"""The HTTP client of the model wires: pooled, streaming, loaded at first use, with few kinds of failure."""

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
"""The code of an endless answer. It is not requested again, since that would cost the same again."""
_STALE = 8
"""How many dead connections of the pool a request may hit before it fails."""
_STALE_SECONDS = 1.0
"""A dead connection fails within this time. A later failure means that a server had started on the request, so
repeating it would be paid for twice."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_PIECEWISE = 64 * 1024
"""Bytes of a body that the transport buffers at once, even if the server reads nothing."""


class HttpFailed(RoostError):
    """The connection was refused, reset or closed early. retryable: another try may succeed. unsent: no server can have
    received any of the request."""

    code, status = "connection", 502
    retryable = True
    unsent = False


class HttpUnreachable(HttpFailed):
    """No connection could be made."""

    unsent = True


class HttpTimeout(HttpFailed):
    """The server was silent for too long, or did not accept the connection in time."""

    code, status = "timeout", 504


class HttpMalformed(HttpFailed):
    """The response violates the protocol."""

    code = "malformed"


class HttpOversized(HttpFailed):
    """The response is larger than any answer."""

    code = OVERSIZED
    retryable = False


class HttpUnusable(HttpFailed):
    """The URL, the headers or the certificate are invalid; no retry can help."""

    retryable = False
    unsent = True


class HttpResponse:
    """A response whose body is read as it arrives. Raises only `HttpFailed` and its subclasses."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        """Return the available bytes, at least one; empty at the end of the body."""
        try:
            return await self._response.content.readany()
        except Exception as error:  # whatever the library raises becomes one of ours
            raise _normalised(error) from error

    async def read_all(self, cap: int) -> bytes:
        """Return the rest of the body, cut at `cap` bytes."""
        pieces: list[bytes] = []
        size = 0
        while size < cap and (data := await self.read()):
            pieces.append(data)
            size += len(data)
        return b"".join(pieces)[:cap]


class HttpClient:
    """A connection pool for one event loop. Creating it is cheap: the first request loads the library.

    connect_timeout, idle_timeout: seconds; the latter is the longest silence while reading. proxies: use a proxy of the
    environment (`HTTPS_PROXY`, `NO_PROXY`), except for the loopback. Certificates are checked against the system's,
    `SSL_CERT_FILE`, and `REQUESTS_CA_BUNDLE` or `CURL_CA_BUNDLE`. Redirects are not followed.

    A server may have closed a pooled connection since its last answer. A request that fails on one before the first
    byte of an answer is sent again at once on another, at last on a fresh one.
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
        """Send a request. Leaving the block closes a connection whose answer was not read to its end. ca: a file of
        certificates trusted in addition to the system's."""
        session, timeout = await self._ready(idle_timeout)
        # A server may have closed the connection of the last call (llama.cpp's does after each stream). The loop must
        # run twice, to notice this and to tell the pool, before the connection is reused.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        try:
            proxy = _proxy(url) if self._proxies else None
            encrypted = url.lower().startswith("https:") or proxy is not None  # else no certificates are read
            options: dict[str, Any] = {
                "headers": headers, "timeout": timeout, "proxy": proxy,
                "ssl": (encrypted and await self._trust(ca)) or True, "allow_redirects": False,
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
        """Return the TLS context, None for the library's own. Raises `HttpUnusable` for a file that cannot be read."""
        files = tuple(filter(None, (ca, *map(os.environ.get, _BUNDLES))))
        if not files:
            return None
        if (known := self._trusted.get("\n".join(files))) is None:
            known = self._trusted["\n".join(files)] = await asyncio.to_thread(_trusting, files)
        return known

    async def prepare(self) -> None:
        """Load the library now, so that the first request does not wait for it."""
        await self._ready(None)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ready(self, idle_timeout: float | None) -> tuple[aiohttp.ClientSession, aiohttp.ClientTimeout]:
        # The import takes some 0.4 s of CPU; in a thread it leaves the loop time slices.
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
    """Record in each request's context (`_Reuse`) whether it got a pooled connection."""
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
    """Send the request; send it again if a pooled connection was dead. Raises the library's errors."""
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
    """A body written in pieces, so that the loop runs between them. The library's own idle limit starts only when all
    is written; until then `timer` ends a call whose server accepts nothing for `idle` seconds."""

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


def _cause(error: OSError) -> str:
    """Return the system's words for a failed connection."""
    return error.strerror or str(error) or type(error).__name__


def _normalised(error: Exception) -> HttpFailed:
    import aiohttp

    reason = str(error) or type(error).__name__
    match error:
        case TimeoutError():
            return HttpTimeout(f"the server was silent for too long: {reason}")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return HttpUnusable("the model's URL is not a valid http or https URL; correct its base URL")
        case aiohttp.ClientConnectorCertificateError():
            return HttpUnusable(f"no trusted TLS connection: {reason}")
        case aiohttp.ClientConnectorError():
            return HttpUnreachable(f"cannot connect to {error.host}:{error.port}: {_cause(error.os_error)}")
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError() | OSError():
            return HttpFailed(f"the connection broke before the answer was whole: {reason}")
        case aiohttp.ClientResponseError():
            reason = " ".join(error.message.split())
            return HttpMalformed(f"the server does not speak HTTP as expected: {reason}")
        case ValueError():
            return HttpUnusable("the request's headers or URL are not valid; check the key and the base URL")
        case _:
            return HttpFailed(f"the request failed: {type(error).__name__}: {reason}")
