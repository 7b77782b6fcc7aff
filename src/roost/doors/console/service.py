"""Answer the requests of the console that are not of the API: its files, signing in and out, changes of sessions."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta
from starlette.types import Receive, Scope

from roost.doors.console.assets import Asset, read_assets
from roost.doors.console.changes import SessionChanges
from roost.features.console.service import ConsoleService, SignedIn
from roost.server.app_state import Api
from roost.server.auth import BROWSER, cookie_name, sign_in_of
from roost.server.door import Methods, needs
from roost.server.problems import Refused
from roost.server.request_body import decode_body, header, read_body
from roost.server.responses import Header, Reply, ReplyCall, encode
from roost.server.sessions import check_room

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
"""What the page may do: load its own files and ask its own daemon, and nothing else. `Trusted Types` make every use of
`innerHTML` an error."""
_SAFE: list[Header] = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_FOR_EVER = b"public, max-age=31536000, immutable"
_BODY = 4096


class _Code(msgspec.Struct, forbid_unknown_fields=True):
    code: Annotated[str, Meta(min_length=1, max_length=256)]


class Service:
    def __init__(self, root: str, api: Api) -> None:
        self._root, self._api = root, api
        self._assets = read_assets()
        self._sign_ins = api.runtime.service(ConsoleService)
        self._code = msgspec.json.Decoder(_Code)

    def routes(self) -> dict[str, Methods]:
        page: Methods = {"GET": self.page, "HEAD": self.page}
        file: Methods = {"GET": self.file, "HEAD": self.file}
        return {
            "/": page,
            self._root: {"GET": self.home, "HEAD": self.home},
            f"{self._root}/": {"GET": self.home, "HEAD": self.home},
            f"{self._root}/files/{{digest}}/{{name:path}}": file,
            f"{self._root}/sign-in": {"POST": self.sign_in},
            f"{self._root}/enter": {"POST": self.enter},
            f"{self._root}/sign-out": {"POST": self.sign_out},
            f"{self._root}/changes": {"GET": self.changes},
        }

    @needs("read")
    async def page(self, scope: Scope, receive: Receive) -> ReplyCall:
        return _send(scope, self._assets.page, b"no-cache", [(b"vary", b"accept, accept-encoding")])

    @needs("read")
    async def home(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Send a browser to the page, wherever a proxy has put it."""
        return Reply(307, headers=[*_SAFE, (b"location", b"../" if scope["path"].endswith("/") else b"./")])

    @needs("read")
    async def file(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Return a file. One of another version is the present one, for a page that was open during an upgrade."""
        found = self._assets.files.get(scope["path_params"]["name"])
        if found is None:
            raise Refused(404, "not_found", "the console has no such file")
        same = scope["path_params"]["digest"] == self._assets.digest
        return _send(scope, found, _FOR_EVER if same else b"no-cache", [(b"vary", b"accept-encoding")])

    @needs("read")
    async def sign_in(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Sign in a browser with the token that the request carries."""
        _demand_own_page(scope)
        return _signed_in(scope, await self._sign_ins.sign_in())

    @needs("read")
    async def enter(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Sign in a browser by a code."""
        _demand_own_page(scope)
        given = decode_body(scope, await read_body(scope, receive, limit=_BODY), self._code)
        return _signed_in(scope, await self._sign_ins.enter(given.code, owner=self._api.owner))

    @needs("read")
    async def sign_out(self, scope: Scope, receive: Receive) -> ReplyCall:
        _demand_own_page(scope)
        if secret := sign_in_of(scope):
            await self._sign_ins.sign_out(secret.decode("latin-1"))
        return Reply(204, headers=[_cookie(scope, "", 0)])

    @needs("read")
    async def changes(self, scope: Scope, receive: Receive) -> ReplyCall:
        check_room(self._api)
        return SessionChanges(self._api)


def _demand_own_page(scope: Scope) -> None:
    """Check that a page of this daemon sends the request. Raises `Refused`."""
    if not header(scope, BROWSER):
        raise Refused(403, "forbidden_origin", f"only the console may ask for this: send the header {BROWSER.decode()}")


def _signed_in(scope: Scope, done: SignedIn) -> Reply:
    headers = [_cookie(scope, done.cookie, done.seconds), (b"cache-control", b"no-store")]
    return Reply(200, encode({"page": done.page}), headers=headers)


def _cookie(scope: Scope, secret: str, seconds: int) -> Header:
    """Return the header that sets the cookie. A page that came over TLS gets one that goes over nothing else."""
    secure = "; Secure" if urlsplit(header(scope, b"origin") or "").scheme == "https" else ""
    text = f"{cookie_name(scope)}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    return b"set-cookie", text.encode("latin-1", "replace")


def _send(scope: Scope, asset: Asset, cache: bytes, more: list[Header]) -> Reply:
    headers = [*_SAFE, *more, (b"cache-control", cache), (b"etag", asset.tag)]
    if asset.tag.decode() in (header(scope, b"if-none-match") or ""):
        return Reply(304, content_type=asset.kind, headers=headers)
    if "gzip" in (header(scope, b"accept-encoding") or ""):
        return Reply(200, asset.packed, content_type=asset.kind, headers=[*headers, (b"content-encoding", b"gzip")])
    return Reply(200, asset.body, content_type=asset.kind, headers=headers)
