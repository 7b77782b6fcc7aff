"""Who may speak to the daemon: the bearer token, and the names under which a loopback daemon may be addressed."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from roost.server.bodies import header
from roost.server.problems import Refused
from roost.server.replies import from_error


class Guard:
    """Lets through what has the token. A loopback daemon also wants a loopback `Host`: a page of a hostile site that
    makes its name point here (DNS rebinding) cannot send one. A browser's `Origin` must be the daemon's own.

    `token` None: no token is asked for. `open_paths` need none.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, loopback: bool, open_paths: Collection[str]) -> None:
        self._app = app
        self._token = token.encode() if token is not None else None
        self._loopback = loopback
        self._open = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope)
            except Refused as refused:
                await from_error(refused, scope)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        host = header(scope, b"host") or ""
        if self._loopback and not is_loopback(host_name(host)):
            raise Refused(403, "forbidden_host", f"this daemon answers to localhost and 127.0.0.1, not to {host!r}")
        origin = header(scope, b"origin")
        if origin is not None and not self._own(origin, host):
            raise Refused(403, "forbidden_origin", f"pages of {origin!r} may not use this daemon")
        if self._token is not None and scope["path"] not in self._open and not self._has_token(scope):
            raise Refused(
                401,
                "unauthorized",
                "send the daemon's token: `Authorization: Bearer <token>`; it is in the file `token` of its home",
                [(b"www-authenticate", b'Bearer realm="roost"')],
            )

    def _own(self, origin: str, host: str) -> bool:
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        name = host_name(parts.netloc)
        return is_loopback(name) if self._loopback else bool(name) and parts.netloc.lower() == host.lower()

    def _has_token(self, scope: Scope) -> bool:
        given = next((value for key, value in scope["headers"] if key == b"authorization"), b"")
        scheme, _, token = given.partition(b" ")
        assert self._token is not None
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token)


def host_name(host: str) -> str:
    """`Host` without its port, in lower case; empty when it is malformed."""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        whole = bracket and (not port or (port[0] == ":" and port[1:].isdigit()))
        return name.lower() if whole else ""
    name, colon, port = host.partition(":")
    return "" if colon and not port.isdigit() else name.lower().rstrip(".")


def is_loopback(host: str) -> bool:
    """Whether an address to bind reaches this machine only. A name other than `localhost` is not believed."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
