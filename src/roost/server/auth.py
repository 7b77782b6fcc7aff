"""Authenticate requests: the bearer token, the host names of a loopback daemon, and the signature of another node."""

from __future__ import annotations

import functools
import hmac
import ipaddress
import time
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.types import Scope

from roost.kernel.peers import Secret, verify
from roost.server.problems import Refused
from roost.server.request_body import header

_INTERNAL = "/internal/"


class Guard:
    """Accept requests that carry the token.

    A loopback daemon also requires a loopback `Host`: a page of a hostile site whose name points here (DNS rebinding)
    cannot send one. A browser's `Origin` must be the daemon's own: the request's `Host`, or another loopback name with
    the same port. Paths below `/internal/` require a node's signature instead of all that: no page can make one.
    token: None asks for no token.
    open_paths: paths that need no token.
    """

    def __init__(
        self,
        *,
        token: str | None,
        secret: Secret,
        node: str,
        loopback: bool,
        open_paths: Collection[str],
    ) -> None:
        self._node = node
        self._secret = secret
        self._token = token.encode() if token is not None else None
        self._loopback = loopback
        self._open = frozenset(open_paths)

    async def check(self, scope: Scope, key_headers: Collection[bytes] = ()) -> None:
        """Check a request. key_headers: headers that may carry the token as they are. Raises `Refused`, and
        `StoreFailed` when the cluster's secret is needed and cannot be read."""
        if sum(key == b"host" for key, _ in scope["headers"]) > 1:
            raise Refused(400, "two_hosts", "send one `Host` header: it names the server")
        if scope["path"].startswith(_INTERNAL):
            await self._check_node(scope)
        else:
            self._check(scope, key_headers)

    def _check(self, scope: Scope, key_headers: Collection[bytes]) -> None:
        host = header(scope, b"host") or ""
        if self._loopback and not _is_local(host):
            raise Refused(403, "forbidden_host", f"this daemon answers to localhost and 127.0.0.1, not to {host!r}")
        origin = header(scope, b"origin")
        if origin is not None and not self._own(origin, host):
            raise Refused(403, "forbidden_origin", f"pages of {origin!r} may not use this daemon")
        if self._token is not None and scope["path"] not in self._open and not self._has_token(scope, key_headers):
            raise Refused(
                401,
                "unauthorized",
                "send the daemon's token: `Authorization: Bearer <token>`; it is in the file `token` of its home",
                [(b"www-authenticate", b'Bearer realm="roost"')],
            )

    async def _check_node(self, scope: Scope) -> None:
        given = header(scope, b"authorization") or ""
        secret = await self._secret.value()
        found = verify(secret, self._node, scope["method"], scope["path"], given, time.time())
        if found == "stale":
            raise Refused(401, "stale_signature", "the signature is too old or too new by this node's clock")
        if found == "wrong":
            raise Refused(401, "unauthorized", "only nodes of this cluster may make this request")

    def _own(self, origin: str, host: str) -> bool:
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if parts.netloc.lower() == host.lower():
            return bool(host_name(host))
        return self._loopback and is_loopback(host_name(parts.netloc)) and _port(parts.netloc) == _port(host)

    def _has_token(self, scope: Scope, key_headers: Collection[bytes]) -> bool:
        assert self._token is not None
        given = next((value for key, value in scope["headers"] if key == b"authorization"), b"")
        scheme, _, token = given.partition(b" ")
        if scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token):
            return True
        keys = [value for key, value in scope["headers"] if key in key_headers]
        return any(hmac.compare_digest(key.strip(), self._token) for key in keys)


@functools.lru_cache(maxsize=64)
def _is_local(host: str) -> bool:
    return is_loopback(host_name(host))


def host_name(host: str) -> str:
    """Return `Host` without its port, in lower case; empty when it is malformed."""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        whole = bracket and (not port or (port[0] == ":" and port[1:].isdigit()))
        return name.lower() if whole else ""
    name, colon, port = host.partition(":")
    return "" if colon and not port.isdigit() else name.lower().rstrip(".")


def _port(netloc: str) -> str:
    """Return the port after a host, "80" without one."""
    name, colon, port = netloc.rpartition(":")
    return port if colon and not netloc.endswith("]") and name else "80"


def is_loopback(host: str) -> bool:
    """Return whether an address to bind reaches only this machine. No name other than `localhost` is trusted."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
