"""OAuth 2.1 for servers that want it: find the authorization server, register, get and refresh tokens.

Follows RFC 9728 (which authorization server), 8414 and OpenID Connect discovery (its addresses), 7591 (registration),
7636 (PKCE), 8707 (resource) and 9207 (issuer of an answer)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit

import msgspec

from roost.agent.servers import OAuth
from roost.features.mcp.client_assertion import KIND, assertion, is_key
from roost.features.mcp.guard import Guard, Reply, ask, client
from roost.features.mcp.messages import Json, NeedsLogin, ServerFailed, as_list, as_object

if TYPE_CHECKING:
    import aiohttp

_EARLY = 30.0
"""Seconds before its end from which on a token is renewed."""
_LONGEST = 10 * 365 * 86_400.0
"""Most seconds that a token is taken to be good for: what a server says of it may be no time at all."""
_AGAIN = 3
_METHODS = ("none", "client_secret_post", "client_secret_basic")
_SIGNED = "private_key_jwt"
_PARAMETER = re.compile(r'([A-Za-z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')

Sign: TypeAlias = Callable[[str], Awaitable[str]]
"""Let a person sign in at an address. Returns the address to which the browser was sent back."""
Secret: TypeAlias = Callable[[str], str]
"""Returns the value of a secret by its name. Raises `ServerFailed`."""


class Client(msgspec.Struct, frozen=True, omit_defaults=True):
    """How this program is known to an authorization server. method: how it identifies itself for a token."""

    id: str
    secret: str = ""
    method: str = "none"


class Grants(msgspec.Struct, omit_defaults=True):
    """What an authorization server gave for one MCP server. scope: what was asked for. ends: wall time."""

    issuer: str = ""
    client: Client | None = None
    redirect: str = ""
    resource: str = ""
    token_url: str = ""
    token: str = ""
    refresh: str = ""
    ends: float | None = None
    scope: str = ""


class Pending(msgspec.Struct, frozen=True):
    """A sign-in that a person has begun. made: wall time."""

    grants: Grants
    verifier: str
    state: str
    issuer: str
    wants_issuer: bool
    made: float


class TokenStore(Protocol):
    """Keeps the grants of one MCP server."""

    async def load(self) -> Grants: ...

    async def save(self, grants: Grants) -> None: ...


class _Place(msgspec.Struct, frozen=True):
    """What a server says of its authorization. issuer: empty for servers of before there was one."""

    issuer: str
    metadata: Json
    resource: str
    scopes: tuple[str, ...] | None


class OAuthCredentials:
    """The right to call a server, by OAuth. static: further headers. sign: lets a person sign in now; None = later."""

    def __init__(
        self,
        url: str,
        settings: OAuth,
        store: TokenStore,
        guard: Guard,
        *,
        secret: Secret,
        static: Callable[[], Mapping[str, str]] = dict,
        sign: Sign | None = None,
        redirect: str = "http://127.0.0.1/callback",
        login: str = "sign in at it first",
    ) -> None:
        self._url, self._settings, self._store, self._guard = url, settings, store, guard
        self._secret, self._static, self._sign, self._redirect, self._login = secret, static, sign, redirect, login
        self._grants: Grants | None = None
        self._lock = asyncio.Lock()
        self._signed = 0

    @property
    def token(self) -> str:
        """The token that is used now; empty before there is one."""
        return "" if self._grants is None else self._grants.token

    async def headers(self) -> Mapping[str, str]:
        if self._grants is None:
            self._grants = await self._store.load()
        grants = self._grants
        if grants.token and grants.ends is not None and time.time() > grants.ends - _EARLY and grants.refresh:
            await self._renew(grants.token)
        token = self._grants.token
        return {**self._static(), **({"Authorization": f"Bearer {token}"} if token else {})}

    async def challenged(self, status: int, challenge: str) -> bool:
        said = parameters(challenge)
        before = self._grants.token if self._grants is not None else ""
        if status == 403:
            if said.get("error") != "insufficient_scope" or self._signed >= _AGAIN:
                return False
            await self._authorize(said)
            return True
        if before and said.get("error") != "insufficient_scope" and await self._renew(before):
            return True
        await self._authorize(said)
        return True

    # Tokens

    async def _renew(self, used: str) -> bool:
        """Get a new token in place of `used`. Returns whether there is one: another task or node may have got it."""
        async with self._lock:
            grants = self._grants = await self._store.load()
            if grants.token != used and grants.token:
                return True
            if not grants.refresh or grants.client is None or not grants.token_url:
                return False
            form = {"grant_type": "refresh_token", "refresh_token": grants.refresh, "resource": grants.resource}
            if not grants.issuer:  # of a vault: what its credential says
                form["scope"] = grants.scope
            async with client(self._guard) as http:
                reply = await self._ask_token(http, grants, grants.client, form)
            if reply.status != 200:  # another session or node may have used the refresh token first
                self._grants = await self._store.load()
                return self._grants.token not in ("", used)
            await self._keep(grants, reply.body)
            return True

    async def _keep(self, grants: Grants, body: Json) -> None:
        token, seconds = body.get("access_token"), body.get("expires_in")
        kind = body.get("token_type", "Bearer")
        if not isinstance(token, str) or not token or str(kind).lower() != "bearer":
            raise ServerFailed("its authorization server gave no token that Roost can use")
        refresh = body.get("refresh_token")
        grants.token = token
        grants.refresh = refresh if isinstance(refresh, str) and refresh else grants.refresh
        grants.ends = time.time() + min(max(seconds, 0.0), _LONGEST) if isinstance(seconds, int | float) else None
        await self._store.save(grants)
        self._grants = grants

    async def _ask_token(
        self, http: aiohttp.ClientSession, grants: Grants, known: Client, form: Mapping[str, str]
    ) -> Reply:
        given = {name: value for name, value in form.items() if value}
        headers: dict[str, str] = {}
        if known.method == "client_secret_basic":
            both = f"{quote(known.id, safe='')}:{quote(known.secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(both.encode()).decode()}"
        else:
            given["client_id"] = known.id
            if known.method == _SIGNED:
                signed = await asyncio.to_thread(assertion, known.id, grants.issuer, known.secret)
                given |= {"client_assertion_type": KIND, "client_assertion": signed}
            elif known.method == "client_secret_post":
                given["client_secret"] = known.secret
        return await ask(http, self._guard, "POST", grants.token_url, headers=headers, form=given)

    # Sign in

    async def _authorize(self, said: Mapping[str, str]) -> None:
        async with self._lock:
            if self._settings.grant == "client_credentials":
                await self._by_itself(said)
                return
            if self._sign is None:
                raise NeedsLogin(self._login)
            if self._signed >= _AGAIN:
                raise NeedsLogin("it does not accept the rights that it gave")
            self._signed += 1
            url, pending = await self.begin(said, redirect=self._redirect)
            await self.finish(pending, await self._sign(url))

    async def _by_itself(self, said: Mapping[str, str]) -> None:
        async with client(self._guard) as http:
            place = await self._place(http, said)
            known = self._known(place)
            if known is None or not known.secret:
                raise NeedsLogin("its client_credentials need oauth.client_id and oauth.client_secret")
            grants = Grants(place.issuer, known, "", place.resource, self._endpoint(place, "token"))
            grants.scope = self._scope(said, place, "")
            form = {"grant_type": "client_credentials", "scope": grants.scope, "resource": place.resource}
            reply = await self._ask_token(http, grants, known, form)
        if reply.status != 200:
            raise NeedsLogin(f"its authorization server refuses: {_error(reply)}")
        await self._keep(grants, reply.body)

    async def begin(self, said: Mapping[str, str], *, redirect: str) -> tuple[str, Pending]:
        """Begin a sign-in. said: the parameters of the server's challenge. Returns the address for the person's
        browser. Raises `ServerFailed`."""
        before = await self._store.load()
        async with client(self._guard) as http:
            place = await self._place(http, said)
            _check_pkce(place)
            same = before.issuer == place.issuer and before.redirect == redirect
            known = self._known(place) or (before.client if same else None)
            if known is None:
                known = await self._register(http, place, redirect)
        scope = self._scope(said, place, before.scope if before.issuer == place.issuer else "")
        grants = Grants(place.issuer, known, redirect, place.resource, self._endpoint(place, "token"), scope=scope)
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
        hashed = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": known.id,
            "redirect_uri": redirect,
            "state": state,
            "code_challenge": hashed,
            "code_challenge_method": "S256",
            "resource": place.resource,
            **({"scope": scope} if scope else {}),
            **({"prompt": "consent"} if "offline_access" in scope.split() else {}),
        }
        target = self._endpoint(place, "authorize")
        url = f"{target}{'&' if urlsplit(target).query else '?'}{urlencode(query)}"
        expects = place.metadata.get("authorization_response_iss_parameter_supported") is True
        issuer = str(place.metadata.get("issuer", place.issuer))
        return url, Pending(grants, verifier, state, issuer, expects, time.time())

    async def finish(self, pending: Pending, returned: str) -> None:
        """End a sign-in. returned: the address to which the browser was sent back. Raises `ServerFailed`."""
        found = dict(parse_qsl(urlsplit(returned).query))
        if not secrets.compare_digest(found.get("state", "").encode(), pending.state.encode()):
            raise ServerFailed("this answer belongs to another sign-in")
        issuer = found.get("iss")
        if issuer != pending.issuer if issuer is not None else pending.wants_issuer:
            raise ServerFailed("another authorization server has answered the sign-in")
        if "error" in found:
            raise ServerFailed(
                f"the sign-in was refused: {found['error'][:200]} {found.get('error_description', '')[:500]}"
            )
        if "code" not in found:
            raise ServerFailed("the address has no code: copy the whole address to which the browser was sent")
        grants = pending.grants
        assert grants.client is not None
        form = {
            "grant_type": "authorization_code",
            "code": found["code"],
            "redirect_uri": grants.redirect,
            "code_verifier": pending.verifier,
            "resource": grants.resource,
        }
        async with client(self._guard) as http:
            reply = await self._ask_token(http, grants, grants.client, form)
        if reply.status != 200:
            raise ServerFailed(f"its authorization server refuses: {_error(reply)}")
        await self._keep(grants, reply.body)

    # Discovery

    async def _place(self, http: aiohttp.ClientSession, said: Mapping[str, str]) -> _Place:
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(self._url))
        found = await self._resource(http, said, origin)
        servers = [one for one in as_list(found.get("authorization_servers")) if isinstance(one, str)]
        resource = found.get("resource")
        if isinstance(resource, str) and not covers(resource, self._url):
            raise ServerFailed(f"it names another resource than itself: {resource[:300]}")
        scopes = found.get("scopes_supported")
        issuer = servers[0] if servers else ""
        metadata = await self._metadata(http, issuer or origin, old=not issuer)
        if issuer and not _same_issuer(str(metadata.get("issuer")), issuer):
            raise ServerFailed("its authorization server gives itself another name than the server does")
        if self._settings.issuer is not None and not _same_issuer(self._settings.issuer, issuer or origin):
            raise ServerFailed(f"its authorization server is {issuer or origin}, not the one of oauth.issuer")
        return _Place(
            issuer or origin,
            metadata,
            resource if isinstance(resource, str) else self._url.partition("#")[0],
            tuple(str(one) for one in as_list(scopes)) if scopes is not None else None,
        )

    async def _resource(self, http: aiohttp.ClientSession, said: Mapping[str, str], origin: str) -> Json:
        path = urlsplit(self._url).path.rstrip("/")
        known = "/.well-known/oauth-protected-resource"
        urls = [said.get("resource_metadata"), f"{origin}{known}{path}" if path else None, f"{origin}{known}"]
        for url in dict.fromkeys(one for one in urls if one):
            reply = await ask(http, self._guard, "GET", url)
            if reply.status == 200 and reply.body:
                return reply.body
        return {}

    async def _metadata(self, http: aiohttp.ClientSession, issuer: str, *, old: bool) -> Json:
        parts = urlsplit(issuer)
        origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
        urls = [f"{origin}/.well-known/oauth-authorization-server{path}"]
        urls += [f"{origin}/.well-known/openid-configuration{path}"]
        urls += [f"{origin}{path}/.well-known/openid-configuration"] if path else []
        for url in urls:
            reply = await ask(http, self._guard, "GET", url)
            if reply.status == 200 and reply.body:
                return reply.body
        if not old:
            raise ServerFailed(f"its authorization server {issuer[:300]} does not describe itself")
        return {}

    def _endpoint(self, place: _Place, name: str) -> str:
        key = {"authorize": "authorization_endpoint", "token": "token_endpoint", "register": "registration_endpoint"}
        found = place.metadata.get(key[name])
        if isinstance(found, str):
            return found
        if place.metadata:
            raise ServerFailed(f"its authorization server names no {key[name]}")
        return urljoin(place.issuer + "/", f"/{name}")

    # Who asks, and for what

    def _known(self, place: _Place) -> Client | None:
        """Return the client that the person has configured, if it is for this authorization server."""
        given = self._settings
        if given.client_id is None:
            return None
        if given.client_id.startswith("https://"):
            portable = place.metadata.get("client_id_metadata_document_supported") is True
            return Client(given.client_id) if portable else None
        if given.client_secret is None:
            return Client(given.client_id)
        secret = self._secret(given.client_secret)
        return Client(given.client_id, secret, _SIGNED if is_key(secret) else self._method(place, secret=True))

    def _method(self, place: _Place, *, secret: bool) -> str:
        known = as_list(place.metadata.get("token_endpoint_auth_methods_supported")) or ["client_secret_basic"]
        for method in reversed(_METHODS) if secret else _METHODS:
            if method in known and not (secret and method == "none"):
                return method
        return "client_secret_basic" if secret else "none"

    async def _register(self, http: aiohttp.ClientSession, place: _Place, redirect: str) -> Client:
        if place.metadata and "registration_endpoint" not in place.metadata:
            raise ServerFailed(
                "its authorization server registers no programs: set oauth.client_id to one that it knows"
            )
        methods = as_list(place.metadata.get("token_endpoint_auth_methods_supported"))
        method = next((one for one in _METHODS if one in methods), "none")
        wanted = {
            "client_name": "Roost",
            "redirect_uris": [redirect],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": method,
            "application_type": "native",
        }
        reply = await ask(http, self._guard, "POST", self._endpoint(place, "register"), json=wanted)
        id, secret = reply.body.get("client_id"), reply.body.get("client_secret")
        if reply.status not in (200, 201) or not isinstance(id, str):
            raise ServerFailed(f"its authorization server does not register Roost: {_error(reply)}")
        told = reply.body.get("token_endpoint_auth_method", method)
        if not isinstance(secret, str) or not secret:
            return Client(id)
        return Client(id, secret, told if told in _METHODS else "client_secret_basic")

    def _scope(self, said: Mapping[str, str], place: _Place, before: str) -> str:
        """Return what to ask for: what the person set, else what the challenge names, else what the server knows; and
        what was granted before."""
        if self._settings.scopes:
            asked = list(self._settings.scopes)
        elif "scope" in said:
            asked = said["scope"].split()
        else:
            asked = list(place.scopes or ())
        supported = as_list(place.metadata.get("scopes_supported"))
        if asked and "offline_access" in supported and self._settings.grant == "browser":
            asked.append("offline_access")
        return " ".join(dict.fromkeys([*before.split(), *asked]))


def parameters(challenge: str) -> dict[str, str]:
    """Return the parameters of the Bearer challenge of a `WWW-Authenticate`."""
    at = re.search(r"(?:^|,\s*)Bearer\b", challenge, re.IGNORECASE)
    found = _PARAMETER.findall(challenge[at.end() :] if at else "")
    return {name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain for name, quoted, plain in reversed(found)}


def covers(resource: str, url: str) -> bool:
    """Whether a resource is the server at `url`, or a path above it."""
    one, other = urlsplit(resource), urlsplit(url)
    if (one.scheme.lower(), one.netloc.lower()) != (other.scheme.lower(), other.netloc.lower()):
        return False
    above, path = one.path.rstrip("/") + "/", other.path.rstrip("/") + "/"
    return path.startswith(above)


def _same_issuer(one: str, other: str) -> bool:
    """Compare two names of an authorization server: as text, but for the end of one without a path."""
    if one == other:
        return True
    short, long = sorted((one, other), key=len)
    return long == f"{short}/" and urlsplit(long).path == "/"


def _check_pkce(place: _Place) -> None:
    if place.metadata and "S256" not in as_list(place.metadata.get("code_challenge_methods_supported")):
        raise ServerFailed("its authorization server does not support PKCE with S256")


def _error(reply: Reply) -> str:
    said = as_object(reply.body)
    words: list[Any] = [said.get("error"), said.get("error_description")]
    text = " ".join(str(one) for one in words if one)[:500]
    return f"{reply.status} {text}".rstrip()
