"""The credentials of a call: which ones an operation needs, and how they enter the request.

Secrets come from the vault by name. They enter the request here and nowhere else, over TLS, or to a host that the agent
allows as private."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlencode, urljoin

import msgspec

from roost.agent.openapi_options import ApiAuth, OpenApi
from roost.errors import NotFound
from roost.features.openapi.catalog import Catalog, Operation, Scheme
from roost.features.openapi.request_building import Draft
from roost.policy.vault import Vault
from roost.tools.checked_http import Answer, ask, judged, parts_of, place_of
from roost.tools.errors import ToolError

_TOKEN_CAP = 256 * 1024
_TOKEN_SECONDS = 30.0
_EARLY = 30.0
"""Seconds before its end at which a token is renewed."""
_DEFAULT_LIFE = 300.0
_MOST_TOKENS = 512


class Need(NamedTuple):
    """One credential of a request, by its scheme."""

    auth: ApiAuth
    scheme: Scheme
    scopes: tuple[str, ...] = ()


class Signed(NamedTuple):
    """What credentials add to a request. masked: values that must not be shown."""

    headers: dict[str, str]
    query: str
    cookies: list[str]
    masked: tuple[str, ...]


def needs_of(api: OpenApi, catalog: Catalog, operation: Operation) -> tuple[Sequence[Need], str]:
    """Return the credentials for an operation, and what to tell when the API says that they are missing."""
    explicit = [Need(one, _scheme_of(one, None)) for one in api.auth if one.kind is not None]
    if operation.security is None:
        return explicit[:1], ""
    missing: list[str] = []
    for names in operation.security:
        found = [_need(api, catalog, name) for name in names]
        if names and all(found):
            return [one for one in found if one is not None], ""
        missing += [name for name, one in zip(names, found, strict=True) if one is None]
    if () in operation.security or not operation.security:
        return (), ""
    if explicit and not catalog.schemes:
        return explicit[:1], ""
    return (), f"the document asks for credentials of {' or '.join(missing)[:200]}, and the agent has none"


def _need(api: OpenApi, catalog: Catalog, name: str) -> Need | None:
    scheme = catalog.schemes.get(name)
    for auth in api.auth:
        if fnmatchcase(name, auth.scheme) and (scheme is not None or auth.kind is not None):
            kind = auth.kind or (scheme.kind if scheme else "other")
            if kind != "other" and _usable(auth, kind):
                return Need(auth, _scheme_of(auth, scheme))
    return None


def _usable(auth: ApiAuth, kind: str) -> bool:
    if kind == "oauth2":
        return bool(auth.client_id or auth.refresh_token or auth.secret)
    return auth.secret is not None


def _scheme_of(auth: ApiAuth, scheme: Scheme | None) -> Scheme:
    """Return how credentials are sent: as the agent says, else as the document says."""
    base = scheme or Scheme("bearer")
    return Scheme(
        auth.kind or base.kind,
        auth.place or base.place,
        auth.name or base.name,
        auth.token_url or base.token_url,
        auth.scopes if auth.scopes is not None else base.scopes,
    )


class Tokens:
    """OAuth2 access tokens of a node, in memory alone: another process asks for its own."""

    def __init__(self, kept: RefreshTokens | None = None) -> None:
        self._tokens: dict[str, tuple[str, float]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._kept = kept
        self._asking: set[asyncio.Task[str]] = set()

    async def get(self, need: Need, send: SendForm, secret: Callable[[str], str], url: str) -> str:
        """Return a valid token. Raises `ToolError`, without secrets. Goes on when cancelled: a server that has rotated
        a refresh token refuses the old one, so the new one must be kept."""
        task = asyncio.create_task(self._get(need, send, secret, url))
        self._asking.add(task)
        task.add_done_callback(self._asked)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait for token servers, each until its time limit."""
        await asyncio.gather(*self._asking, return_exceptions=True)

    def _asked(self, task: asyncio.Task[str]) -> None:
        self._asking.discard(task)
        if not task.cancelled():
            task.exception()  # the call that waited for it may be cancelled

    async def _get(self, need: Need, send: SendForm, secret: Callable[[str], str], url: str) -> str:
        key = _key(need, secret, url)
        async with self._locks.setdefault(key, asyncio.Lock()):
            known = self._tokens.get(key)
            if known is not None and known[1] > time.monotonic():
                return known[0]
            token, seconds = await self._ask(key, need, send, secret, url)
            if len(self._tokens) >= _MOST_TOKENS:
                self._tokens.clear()
            self._tokens[key] = token, time.monotonic() + max(1.0, seconds - min(_EARLY, seconds / 2))
            return token

    def forget(self, token: str) -> None:
        """Drop a token that the API refuses."""
        for key in [key for key, known in self._tokens.items() if known[0] == token]:
            del self._tokens[key]

    async def _ask(
        self, key: str, need: Need, send: SendForm, secret: Callable[[str], str], url: str
    ) -> tuple[str, float]:
        auth = need.auth
        form: dict[str, str] = {"grant_type": "client_credentials"}
        if auth.refresh_token:
            newer = None if self._kept is None else await self._kept.get(key)
            form = {"grant_type": "refresh_token", "refresh_token": newer or secret(auth.refresh_token)}
        if need.scheme.scopes and auth.scopes is not None:
            form["scope"] = " ".join(auth.scopes)
        basic = None
        if auth.client_id and auth.client_secret:
            pair = f"{quote(auth.client_id, safe='')}:{quote(secret(auth.client_secret), safe='')}"
            basic = base64.b64encode(pair.encode()).decode()
        elif auth.client_id:
            form["client_id"] = auth.client_id
        answer = await send(url, form, basic)
        if answer.status in (400, 401) and basic is not None:  # some servers read credentials in the body only
            more = {"client_id": auth.client_id or "", "client_secret": secret(auth.client_secret or "")}
            answer = await send(url, {**form, **more}, None)
        found = _token_of(answer)
        if self._kept is not None and (rotated := found.get("refresh_token")) and auth.refresh_token:
            await self._kept.put(key, str(rotated))
        return str(found["access_token"]), _seconds(found.get("expires_in"))


class RefreshTokens(Protocol):
    """Refresh tokens that a server gave in place of the vault's. Kept where all nodes find them."""

    async def get(self, key: str) -> str | None: ...

    async def put(self, key: str, token: str) -> None: ...


SendForm = Callable[[str, Mapping[str, str], str | None], Awaitable[Answer]]
"""Send a form to a token URL, with basic credentials or without."""


def _key(need: Need, secret: Callable[[str], str], url: str) -> str:
    auth = need.auth
    secrets = [secret(name) for name in (auth.client_secret, auth.refresh_token) if name]
    parts = [url, auth.client_id or "", " ".join(auth.scopes or ()), *secrets]
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=16).hexdigest()


def _token_of(answer: Answer) -> dict[str, Any]:
    """Return the fields of a token response. Raises `ToolError`, which quotes only a code of RFC 6749."""
    try:
        found = msgspec.json.decode(answer.body, type=dict[str, Any])
    except msgspec.DecodeError:
        found = {}
    if answer.status == 200 and isinstance(found.get("access_token"), str):
        kind = str(found.get("token_type", "bearer"))
        if kind.lower() != "bearer":
            raise ToolError(f"the token server gives tokens of the type {kind[:40]!r}, which cannot be used")
        return found
    code = found.get("error")
    said = f": {code}" if isinstance(code, str) and len(code) <= 60 and code.replace("_", "").isalnum() else ""
    raise ToolError(f"the token server answered {answer.status}{said}. A person must look after the credentials")


def _seconds(value: Any) -> float:
    try:
        return min(max(float(value), 1.0), 86_400.0)
    except (TypeError, ValueError):
        return _DEFAULT_LIFE


class Signer:
    """Put the credentials of an API into requests to `base`."""

    def __init__(self, api: OpenApi, vault: Vault | None, tokens: Tokens) -> None:
        self._api, self._vault, self._tokens = api, vault, tokens

    async def sign(self, needs: Sequence[Need], base: str) -> Signed:
        """Return what the credentials add. Raises `ToolError`, without secrets."""
        signed = Signed({}, "", [], ())
        for need in needs:
            signed = await self._with(signed, need, base)
        return signed

    async def _with(self, signed: Signed, need: Need, base: str) -> Signed:
        auth, scheme = need.auth, need.scheme
        if scheme.kind == "oauth2" and auth.secret is None:
            url = urljoin(f"{base}/", scheme.token_url or "")
            if not scheme.token_url:
                raise ToolError("the document names no token URL: set `token_url` in the agent's credentials")
            self._check_token_goes_to(base, auth)
            token = await self._tokens.get(need, self._send, self._secret_for(url), url)
            return _added(signed, {"Authorization": f"Bearer {token}"}, masked=token)
        value = self._secret_for(base)(auth.secret or "")
        if scheme.kind == "basic":
            pair = base64.b64encode(f"{auth.user or ''}:{value}".encode()).decode()
            return _added(signed, {"Authorization": f"Basic {pair}"}, masked=pair)
        if scheme.kind == "key" and scheme.place == "query":
            more = f"{quote(scheme.name, safe='')}={quote(value, safe='')}"
            query = f"{signed.query}&{more}" if signed.query else more
            return Signed(signed.headers, query, signed.cookies, (*signed.masked, value))
        if scheme.kind == "key" and scheme.place == "cookie":
            cookies = [*signed.cookies, f"{scheme.name}={quote(value, safe='')}"]
            return Signed(signed.headers, signed.query, cookies, (*signed.masked, value))
        name = scheme.name if scheme.kind == "key" else "Authorization"
        return _added(signed, {name: value if scheme.kind == "key" else f"Bearer {value}"}, masked=value)

    def _check_token_goes_to(self, base: str, auth: ApiAuth) -> None:
        """Check that an access token may go to the API. Where the document names its host, the secrets behind the token
        must be allowed there as well. Raises `ToolError`."""
        host, port = self._credible(base)
        for name in (auth.client_secret, auth.refresh_token):
            if name and self._api.server is None and not (self._vault and self._vault.may_go_to(name, host, port)):
                raise ToolError(
                    f"a token for the secret {name!r} may not go to {host}:{port}, which the document names: add it to"
                    " the secret's `hosts`, or set the API's `server`"
                )

    def _credible(self, url: str) -> tuple[str, int]:
        """Return host and port of a URL that credentials may be sent to. Raises `ToolError`."""
        parts = parts_of(url)
        host, port = place_of(parts)
        if parts.scheme != "https" and f"{host}:{port}" not in self._api.private:
            raise ToolError(f"{host!r} is reached without TLS, so it gets no credentials")
        return host, port

    def _secret_for(self, url: str) -> Callable[[str], str]:
        """Return the function that reads secrets for requests to the host of a URL."""
        host, port = self._credible(url)

        def secret(name: str) -> str:
            if self._vault is None:
                raise ToolError(f"there is no secret {name!r} on this machine")
            try:
                value = self._vault.value(name)
            except NotFound as error:
                raise ToolError(error.message) from None
            if not self._vault.may_go_to(name, host, port):
                raise ToolError(f"the secret {name!r} may not go to {host}:{port}: its `hosts` do not name it")
            if not value.isprintable():
                raise ToolError(f"the secret {name!r} has control characters")
            return value

        return secret

    async def _send(self, url: str, form: Mapping[str, str], basic: str | None) -> Answer:
        addresses = await judged(*place_of(parts_of(url)), allowed=self._api.private)
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        if basic is not None:
            headers["Authorization"] = f"Basic {basic}"
        data = urlencode(form).encode()
        return await ask("POST", url, addresses, cap=_TOKEN_CAP, headers=headers, data=data, seconds=_TOKEN_SECONDS)


def _added(signed: Signed, headers: dict[str, str], *, masked: str) -> Signed:
    return Signed({**signed.headers, **headers}, signed.query, signed.cookies, (*signed.masked, masked))


def with_credentials(draft: Draft, signed: Signed) -> Draft:
    """Return the request with its credentials. They win over arguments of the same name."""
    names = {name.lower() for name in signed.headers}
    headers = {name: value for name, value in draft.headers.items() if name.lower() not in names}
    given = {pair.partition("=")[0] for pair in signed.query.split("&") if pair}
    kept = [pair for pair in draft.query.split("&") if pair and pair.partition("=")[0] not in given]
    query = "&".join([*kept, *([signed.query] if signed.query else [])])
    return draft._replace(headers={**headers, **signed.headers}, query=query, cookies=[*draft.cookies, *signed.cookies])


def scrubbed(text: str, masked: Collection[str]) -> str:
    """Mask the values of credentials in a text, as they are and as a URL has them."""
    for value in masked:
        for form in {value, quote(value, safe="")}:
            if len(form) >= 6:
                text = text.replace(form, "[secret]")
    return text
