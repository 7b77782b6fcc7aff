"""HTTP to addresses that people named, and to those that a server names, which must not lead into a private
network."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from roost.addresses import Resolve, is_public, resolve
from roost.features.mcp.messages import Json, ServerFailed, parse
from roost.tools.checked_http import judged, parts_of, place_of, resolving
from roost.tools.errors import ToolError
from roost.version import version

if TYPE_CHECKING:
    import aiohttp

_BODY = 1024 * 1024
_SECONDS = 30.0


class Reply(NamedTuple):
    """A whole response. body: its JSON object; empty for anything else."""

    status: int
    headers: Mapping[str, str]
    body: Json


class Guard:
    """Judge addresses for one server.

    url: the server's own. named: a person named it, so it may be in a private network; the addresses that it names may
    then only lead to its own host, or to public ones. allowed: further private hosts, as `host:port`."""

    def __init__(self, url: str, *, named: bool, allowed: Collection[str] = (), find: Resolve = resolve) -> None:
        self._own, self._named, self._allowed, self._find = checked(url)[0], named, allowed, find

    async def addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host that may be called. Raises `ServerFailed`."""
        free = self._named and host == self._own
        allowed = {f"{host}:{port}"} if free else self._allowed
        try:
            return await judged(host, port, allowed=allowed, find=self._find)
        except ToolError as error:
            raise ServerFailed(str(error)) from None

    async def check(self, url: str) -> None:
        """Judge the host of an address before a request: a connection does not resolve a number. Raises
        `ServerFailed`."""
        host, port = checked(url)
        if urlsplit(url).scheme == "http" and any(map(is_public, await self.addresses(host, port))):
            raise ServerFailed(f"{host!r} is called without TLS; use https")


def checked(url: str) -> tuple[str, int]:
    """Return host and port. Raises `ServerFailed` unless it is a plain http or https address."""
    try:
        return place_of(parts_of(url))
    except ToolError as error:
        raise ServerFailed(str(error)) from None


def client(guard: Guard) -> aiohttp.ClientSession:
    """Return an HTTP client that connects only to addresses that the guard has judged. The caller closes it."""
    import aiohttp

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=resolving(guard.addresses), use_dns_cache=False, limit=64),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=15.0),
        headers={"User-Agent": f"roost/{version()}", "Accept-Encoding": "identity"},
        read_bufsize=65536,
    )


async def ask(
    http: aiohttp.ClientSession,
    guard: Guard,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    json: Any = None,
) -> Reply:
    """Send one short request, as authorization servers take them. Redirects are not followed. Raises `ServerFailed`."""
    import aiohttp

    await guard.check(url)
    given = {"Accept": "application/json", **(headers or {})}
    body: Any = None
    if form is not None:
        body, given["Content-Type"] = urlencode(form), "application/x-www-form-urlencoded"
    try:
        async with http.request(
            method,
            url,
            headers=given,
            data=body,
            json=json,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=_SECONDS),
        ) as response:
            raw = await response.content.read(_BODY)
            while len(raw) < _BODY and (more := await response.content.read(_BODY - len(raw))):
                raw += more
            found = {name.lower(): value for name, value in response.headers.items()}
            return Reply(response.status, found, _object(raw))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise ServerFailed(f"{url.partition('?')[0]} does not answer: {error or type(error).__name__}") from None


def _object(raw: bytes) -> Json:
    try:
        return parse(raw)
    except ServerFailed:
        return {}
