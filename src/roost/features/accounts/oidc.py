"""Verify tokens of OpenID providers by their published keys. PyJWT does the cryptography; it is the extra `oidc`."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlsplit

from roost.errors import ConfigError, Invalid, RoostError
from roost.features.accounts.records import ALGORITHMS, IssuerRecord

if TYPE_CHECKING:
    from jwt import PyJWK

log = logging.getLogger("roost.accounts")
LEEWAY = 30.0
"""Seconds by which clocks may differ."""
FETCH_SECONDS = 5.0
FRESH_SECONDS = 300.0
"""Keys are read again when they are older than this."""
STALE_SECONDS = 86_400.0
"""How long keys are used while their provider does not answer."""
RETRY_SECONDS = 10.0
"""Between two reads of a provider's keys, however many tokens name a key that is not among them."""
_TOKEN_BYTES = 16 * 1024
_DOCUMENT_BYTES = 512 * 1024
_LONGEST = 512
_LOCAL = ("localhost", "127.0.0.1", "::1")


class Shown(NamedTuple):
    """What a verified token says."""

    issuer: str
    subject: str
    ends: float


class IssuerUnreachable(RoostError):
    """The provider's keys are not known, and cannot be read now."""

    code, status = "issuer_unreachable", 503


class _Keys:
    """The keys of a provider, as read last."""

    def __init__(self) -> None:
        self.by_id: dict[str, dict[str, Any]] = {}
        self.read_at = self.tried_at = float("-inf")
        self.lock = asyncio.Lock()


class Verifier:
    """Verifies tokens. Keeps the keys of each provider."""

    def __init__(self) -> None:
        self._keys: dict[str, _Keys] = {}

    async def verify(self, token: bytes, issuers: Sequence[IssuerRecord]) -> Shown | None:
        """Return what a token says if one of these providers signed it for us, and it holds now; else None. Raises
        `IssuerUnreachable`, and `ConfigError` without the extra."""
        jwt = _library()
        if len(token) > _TOKEN_BYTES:
            return None
        try:
            header = jwt.get_unverified_header(token)
            said = jwt.decode(token, options={"verify_signature": False})  # only to choose whose keys verify it
        except jwt.PyJWTError:
            return None
        issuer = next((one for one in issuers if one.issuer == said.get("iss")), None)
        if issuer is None or header.get("alg") not in issuer.algorithms or header.get("alg") not in ALGORITHMS:
            return None
        key = await self._key(issuer, header.get("kid"), header["alg"])
        if key is None:
            return None
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[header["alg"]],
                audience=issuer.audience,
                issuer=issuer.issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud", "sub"], "strict_aud": False},
            )
        except jwt.PyJWTError as error:
            log.info("a token of %s is refused: %s", issuer.issuer, error)
            return None
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST or not subject.isprintable():
            return None
        return Shown(issuer.issuer, subject, float(claims["exp"]) + LEEWAY)

    async def _key(self, issuer: IssuerRecord, id: object, algorithm: str) -> PyJWK | None:
        """Return the key of this id; without an id the provider's only one. Keys that changed are read again."""
        keys = self._keys.setdefault(f"{issuer.issuer} {issuer.keys}", _Keys())
        found = _of(keys, id)
        if found is None or time.monotonic() - keys.read_at > FRESH_SECONDS:
            found = await self._again(issuer, keys, id)
        if found is None or found.get("use", "sig") != "sig" or found.get("alg", algorithm) != algorithm:
            return None
        jwt = _library()
        try:
            return cast("PyJWK", jwt.PyJWK(found, algorithm))
        except jwt.PyJWTError:  # of another type than the algorithm's
            return None

    async def _again(self, issuer: IssuerRecord, keys: _Keys, id: object) -> dict[str, Any] | None:
        """Return a key after a read of the provider's keys, unless they were just read. Raises `IssuerUnreachable`."""
        async with keys.lock:
            found = _of(keys, id)
            now = time.monotonic()
            if (found is None or now - keys.read_at > FRESH_SECONDS) and now - keys.tried_at > RETRY_SECONDS:
                keys.tried_at = now
                try:
                    keys.by_id, keys.read_at = await _read(issuer), now
                    found = _of(keys, id)
                except (OSError, TimeoutError, Invalid) as error:
                    log.warning("the keys of %s cannot be read: %s", issuer.issuer, error)
            if now - keys.read_at > STALE_SECONDS:
                raise IssuerUnreachable(f"the keys of {issuer.issuer} cannot be read now; try again later")
        return found


def check_issuer(record: IssuerRecord) -> None:
    """Check what an owner says of a provider. Raises `Invalid`."""
    for url in (record.issuer, *([record.keys] if record.keys else [])):
        parts = urlsplit(url)
        local = parts.scheme == "http" and parts.hostname in _LOCAL
        if not (parts.scheme == "https" or local) or not parts.hostname or parts.username or parts.fragment:
            raise Invalid(f"{url!r} is no address of a provider: it begins with https://")
    if not record.audience:
        raise Invalid("name the audience of the provider's tokens")
    wrong = [one for one in record.algorithms if one not in ALGORITHMS]
    if wrong or not record.algorithms:
        raise Invalid(f"algorithms are some of {', '.join(ALGORITHMS)}, not {', '.join(wrong) or 'none'}")


def _of(keys: _Keys, id: object) -> dict[str, Any] | None:
    if isinstance(id, str):
        return keys.by_id.get(id)
    return next(iter(keys.by_id.values())) if id is None and len(keys.by_id) == 1 else None


async def _read(issuer: IssuerRecord) -> dict[str, dict[str, Any]]:
    """Read a provider's keys by their ids. Raises `OSError`, `TimeoutError`, `Invalid`."""
    url = issuer.keys
    if url is None:
        found = await _document(issuer.issuer.rstrip("/") + "/.well-known/openid-configuration")
        url = found.get("jwks_uri")
        if found.get("issuer") != issuer.issuer or not isinstance(url, str):
            raise Invalid(f"the configuration at {issuer.issuer} is of another provider, or names no keys")
        check_issuer(IssuerRecord(issuer=issuer.issuer, audience=issuer.audience, keys=url))
    listed = (await _document(url)).get("keys")
    if not isinstance(listed, list):
        raise Invalid(f"there is no list of keys at {url}")
    some = [cast("dict[str, Any]", one) for one in cast("list[Any]", listed)[:100] if isinstance(one, dict)]
    return {str(one.get("kid", number)): one for number, one in enumerate(some)}


async def _document(url: str) -> dict[str, Any]:
    """Read a JSON object of limited size. Redirects are not followed."""
    import aiohttp

    try:
        timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, allow_redirects=False) as answer:
            body = await answer.content.read(_DOCUMENT_BYTES)
            if answer.status != 200 or not answer.content.at_eof():
                raise Invalid(f"{url} answers {answer.status}, or too much")
        found = json.loads(body)
    except (aiohttp.ClientError, ValueError) as error:
        raise Invalid(f"{url}: {error}") from None
    if not isinstance(found, dict):
        raise Invalid(f"{url} is no JSON object")
    return cast("dict[str, Any]", found)


def _library() -> Any:
    try:
        import cryptography as _  # noqa: F401 - PyJWT needs it for these algorithms
        import jwt
    except ImportError:
        raise ConfigError("tokens of OpenID providers need the extra: pip install 'roost-runtime[oidc]'") from None
    return jwt
