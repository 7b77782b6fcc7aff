"""One bounded HTTP exchange with a host whose address was checked first.

A name is resolved once and the connection goes to the address that was checked, so that DNS rebinding cannot change it.
Redirects are not followed here.
"""

from __future__ import annotations

import asyncio
import socket
import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from roost.addresses import Resolve, is_public, resolve
from roost.tools.errors import ToolError
from roost.version import version

if TYPE_CHECKING:
    import aiohttp

_CONNECT_SECONDS = 15.0
_SECONDS = 45.0
_URL = 4000
_CHUNK = 64 * 1024


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
) -> Answer:
    """Send one request to one of `addresses`, as the host in `url`. At most `cap` bytes of the body are read and
    decoded. Raises `ToolError` for network failures, for the model; it never holds the headers."""
    import aiohttp
    import yarl

    given = {"User-Agent": f"roost/{version()}", "Accept-Encoding": "identity", **(headers or {})}
    connector = aiohttp.TCPConnector(resolver=_pinned(addresses), force_close=True)
    limits = aiohttp.ClientTimeout(total=_SECONDS, connect=_CONNECT_SECONDS)
    shown = url.partition("?")[0]
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), timeout=limits
            ) as session,
            session.request(method, yarl.URL(url), headers=given, json=json, allow_redirects=False) as response,
        ):
            return await _read(response, cap)
    except TimeoutError:
        raise ToolError(f"{shown} did not answer within {_SECONDS:g} seconds") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise ToolError(f"{shown} cannot be fetched: {str(error) or type(error).__name__}") from None


def _pinned(addresses: Sequence[str]) -> Any:
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Pinned(AbstractResolver):
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
                for address in addresses
            ]

        async def close(self) -> None:
            return None

    return Pinned()


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
