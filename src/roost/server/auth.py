"""Authenticate requests: the bearer token, the host names of a loopback daemon, and the signature of another node.

`Guard` makes the `Authority` of a request, and no other part does."""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import ipaddress
import time
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.types import Scope

from roost.authority import HOME, Authority, become, current
from roost.kernel.peers import Secret, verify
from roost.server.admission import Admission
from roost.server.problems import Refused
from roost.server.request_body import header

BROWSER = b"roost-browser"
"""The header in which a page of this daemon sends its half of a sign-in; the other half is the cookie. Browsers send a
cookie to every port of a host, but what a page keeps stays in its origin. No form can send the header, and no page of
another origin."""
BROWSER_ENTRY = "roost.browser."
"""With that half behind it, the entry of `Sec-WebSocket-Protocol` that stands for the header: WebSockets of browsers
send no header of a page's own."""
_INTERNAL = "/internal/"
_ENTERED = "roost.entered"
_TOKENS = 3
"""Most different tokens of one request that are looked up."""
PASSWORD = b"authorization"
"""As one of a door's `key_headers`: the password of Basic authentication may be the token, as in an address such as
`http://any:TOKEN@host`."""


class Guard:
    """Accept requests that carry the token.

    A loopback daemon also requires a loopback `Host`: a page of a hostile site whose name points here (DNS rebinding)
    cannot send one. A browser's `Origin` must be the daemon's own: the request's `Host`, or another loopback name with
    the same port. Paths below `/internal/` require a node's signature instead of all that: no page can make one.
    token: the home's own; None asks for no token. `owner` is the authority of its holder, which names the token by a
    digest: a sign-in of the owner ends with the token that it was made with.
    open_paths: paths that need no token.
    admission: knows other tokens, and limits their requests.
    """

    def __init__(
        self,
        *,
        token: str | None,
        secret: Secret,
        node: str,
        loopback: bool,
        open_paths: Collection[str],
        admission: Admission,
    ) -> None:
        self._node = node
        self._secret = secret
        self._token = token.encode() if token is not None else None
        self.owner = HOME if token is None else Authority(token=_mark(token))
        self._loopback = loopback
        self._open = frozenset(open_paths)
        self._admission = admission

    async def check(self, scope: Scope, key_headers: Collection[bytes] = (), *, open: bool = False) -> None:
        """Check a request, and let it act with its authority from now on. key_headers: headers that may carry the token
        as they are. open: it needs no token. Raises `Refused`, and `StoreFailed` when the cluster's secret or an
        account is needed and cannot be read."""
        if sum(key == b"host" for key, _ in scope["headers"]) > 1:
            raise Refused(400, "two_hosts", "send one `Host` header: it names the server")
        if scope["path"].startswith(_INTERNAL):
            await self._check_node(scope)
            become(HOME)
        else:
            self._check_origin(scope)
            if not open and scope["path"] not in self._open:
                become(await self._authority(scope, key_headers))
                scope[_ENTERED] = await self._admission.enter()

    async def count(self) -> None:
        """Count one more request of what is open already. Raises `Refused` when the account asks too often."""
        await self._admission.count(current())

    def leave(self, scope: Scope, status: int) -> None:
        """Say that the response to a request has ended."""
        self._admission.note(scope, status)
        self._admission.leave(scope.get(_ENTERED))

    def _check_origin(self, scope: Scope) -> None:
        host = header(scope, b"host") or ""
        if self._loopback and not _is_local(host):
            raise Refused(403, "forbidden_host", f"this daemon answers to localhost and 127.0.0.1, not to {host!r}")
        origin = header(scope, b"origin")
        if origin is not None and not self._own(origin, host):
            raise Refused(403, "forbidden_origin", f"pages of {origin!r} may not use this daemon")

    async def _authority(self, scope: Scope, key_headers: Collection[bytes]) -> Authority:
        given = _tokens(scope, key_headers)
        if self._token is None or any(hmac.compare_digest(one, self._token) for one in given):
            return self.owner
        for token in list(dict.fromkeys(given))[:_TOKENS]:
            if token and (found := await self._admission.authority(token)) is not None and self._of_now(found):
                return found
        raise Refused(
            401,
            "unauthorized",
            "send the daemon's token: `Authorization: Bearer <token>`; it is in the file `token` of its home",
            [(b"www-authenticate", b'Bearer realm="roost"')],
        )

    def _of_now(self, found: Authority) -> bool:
        """Whether an owner's sign-in was made with the present token."""
        return found.account is not None or found.token == self.owner.token

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


def _tokens(scope: Scope, key_headers: Collection[bytes]) -> list[bytes]:
    """Return what a request shows as a token: first as a bearer, then in the headers of its protocol. A bearer token
    stands for itself: with one that is wrong the request is not that of the browser's sign-in."""
    given = next((value for key, value in scope["headers"] if key == b"authorization"), b"")
    scheme, _, token = given.partition(b" ")
    keys = [value.strip() for key, value in scope["headers"] if key in key_headers and key != PASSWORD]
    if scheme.lower() != b"bearer" and (sign_in := sign_in_of(scope)):
        keys.append(sign_in)
    if scheme.lower() == b"basic" and PASSWORD in key_headers:
        keys.append(_password(token))
    return [token.strip(), *keys] if scheme.lower() == b"bearer" else keys


def cookie_name(scope: Scope) -> str:
    """Return the name of the cookie of a signed-in browser. Cookies know no ports, so the name has that of `Host`."""
    return f"roost-browser-{_port(header(scope, b'host') or '')}"


def sign_in_of(scope: Scope) -> bytes:
    """Return both halves of a browser's sign-in, the cookie's and the page's; empty without one of them."""
    cookie, own = _cookie(scope), header(scope, BROWSER) or _entry(scope)
    return b"%b.%b" % (cookie, own.encode("latin-1", "replace")) if cookie and own else b""


def _entry(scope: Scope) -> str:
    """Return the page's half of a sign-in in the request for a WebSocket."""
    offered: list[str] = scope.get("subprotocols") or []
    return next((one.removeprefix(BROWSER_ENTRY) for one in offered if one.startswith(BROWSER_ENTRY)), "")


def _cookie(scope: Scope) -> bytes:
    """Return the value of the cookie of a signed-in browser; empty without one."""
    name = cookie_name(scope).encode("latin-1", "replace")
    for key, value in scope["headers"]:
        for pair in value.split(b";") if key == b"cookie" else ():
            known, _, secret = pair.strip().partition(b"=")
            if known == name:
                return secret
    return b""


def _mark(token: str) -> str:
    """Return what names the home's token where a sign-in is kept, and does not tell it."""
    return f"home:{hashlib.sha256(b'roost owner ' + token.encode()).hexdigest()[:32]}"


def _password(credentials: bytes) -> bytes:
    """Return the password of Basic authentication; empty when it is malformed."""
    try:
        return base64.b64decode(credentials.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


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
