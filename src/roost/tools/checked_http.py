"""One bounded HTTP exchange with a host whose address was checked first.

A name is resolved once and the connection goes to the address that was checked, so that DNS rebinding cannot change it.
Redirects are not followed here.
"""

from __future__ import annotations

import asyncio
import os
import socket
import zlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from roost.addresses import Resolve, is_public, resolve
from roost.tools.errors import ToolError
from roost.version import version

if TYPE_CHECKING:
    import aiohttp

WEB_ALLOW = "ROOST_WEB_ALLOW"
"""The variable with the private hosts that the operator allows tools and MCP servers to be reached at."""
_CONNECT_SECONDS = 15.0
_SECONDS = 45.0
_URL = 4000
_CHUNK = 64 * 1024


class NotSent(ToolError):
    """No connection was made, so the request had no effect."""


class Answer(NamedTuple):
    """`body` is decoded, and cut at the cap. `size`: the announced length, None where there is none."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    cut: bool
    size: int | None


def parts_of(url: str) -> SplitResult:
    """Split an address. Raises `ToolError` unless it is a plain http or https address."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ToolError(f"{url[:200]!r} is not an address: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or len(url) > _URL:
        raise ToolError(f"{url[:200]!r} is not an address such as https://example.com/page")
    if parts.username is not None or parts.password is not None:
        raise ToolError("an address must not hold a user name or a password")
    return parts


def place_of(parts: SplitResult) -> tuple[str, int]:
    return (parts.hostname or "").rstrip("."), parts.port or (443 if parts.scheme == "https" else 80)


def allowed_hosts(variable: str) -> frozenset[str]:
    """Return the private hosts that the operator allows by an environment variable, as in `wiki.lan:80,10.0.0.7:80`."""
    given = os.environ.get(variable, "")
    return frozenset(one.strip().lower() for one in given.split(",") if one.strip())


async def judged(host: str, port: int, *, allowed: Collection[str] = (), find: Resolve = resolve) -> list[str]:
    """Return the addresses of `host`. All must be public, unless `allowed` names it with its port. Raises
    `ToolError`."""
    try:
        addresses = list(await asyncio.wait_for(find(host, port), _CONNECT_SECONDS))
    except (OSError, TimeoutError):
        addresses = []
    if not addresses:
        raise ToolError(f"{host!r} cannot be found")
    private = [address for address in addresses if not is_public(address)]
    if private and f"{host}:{port}" not in allowed:
        raise ToolError(f"{host!r} is {private[0]}, which is not a public address: it is not fetched")
    return addresses


async def ask(
    method: str,
    url: str,
    addresses: Sequence[str],
    *,
    cap: int,
    headers: Mapping[str, str] | None = None,
    json: Any = None,
    data: bytes | None = None,
    seconds: float = _SECONDS,
    encoded: bool = False,
) -> Answer:
    """Send one request to one of `addresses`, as the host in `url`. At most `cap` bytes of the body are read and
    decoded. encoded: the URL is sent as it is. Raises `ToolError` for network failures, for the model (`NotSent` if no
    connection was made); it never holds the headers, nor the query."""
    import aiohttp
    import yarl

    async def pinned(host: str, port: int) -> Sequence[str]:
        return addresses

    given = {"User-Agent": f"roost/{version()}", "Accept-Encoding": "identity", **(headers or {})}
    connector = aiohttp.TCPConnector(resolver=resolving(pinned), force_close=True)
    limits = aiohttp.ClientTimeout(total=seconds, connect=min(_CONNECT_SECONDS, seconds))
    shown = url.partition("?")[0]
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), timeout=limits
            ) as session,
            _once(session).request(
                method, yarl.URL(url, encoded=encoded), headers=given, json=json, data=data, allow_redirects=False
            ) as response,
        ):
            return await _read(response, cap)
    except TimeoutError:
        raise ToolError(f"{shown} did not answer within {seconds:g} seconds") from None
    except aiohttp.InvalidURL:
        raise ToolError(f"{shown} is no address that can be fetched") from None
    except aiohttp.ClientConnectorError as error:
        raise NotSent(f"{shown} cannot be fetched: {error}") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise ToolError(f"{shown} cannot be fetched: {str(error) or type(error).__name__}") from None


def _once(session: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """Switch off aiohttp's own second attempt, also for methods that are idempotent by their name: the caller knows
    what may be sent twice. aiohttp has no public setting for it."""
    session._retry_connection = False  # pyright: ignore[reportPrivateUsage]
    return session


def resolving(addresses: Callable[[str, int], Awaitable[Sequence[str]]]) -> Any:
    """Return a resolver of aiohttp that gives a host the addresses that were judged, and no others."""
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Judged(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            return [
                ResolveResult(
                    hostname=host,
                    host=address,
                    port=port,
                    family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                    proto=0,
                    flags=socket.AI_NUMERICHOST,
                )
                for address in await addresses(host, port)
            ]

        async def close(self) -> None:
            return None

    return Judged()


async def _read(response: aiohttp.ClientResponse, cap: int) -> Answer:
    raw = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        raw += chunk
        if len(raw) > cap:
            break
    body = _decoded(bytes(raw[: cap + 1]), response.headers.get("Content-Encoding", "").strip().lower(), cap + 1)
    return Answer(
        response.status,
        response.reason or "",
        {name.lower(): value for name, value in response.headers.items()},
        body[:cap],
        len(body) > cap or len(raw) > cap,
        response.content_length,
    )


def _decoded(data: bytes, encoding: str, cap: int) -> bytes:
    """Decode at most `cap` bytes, however large the data would become."""
    if encoding in ("", "identity"):
        return data
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise ValueError(f"it is encoded with {encoding!r}, which was not asked for")
    try:
        return zlib.decompressobj(wbits=47).decompress(data, cap)
    except zlib.error as error:
        raise ValueError(f"its {encoding} encoding is damaged: {error}") from error
