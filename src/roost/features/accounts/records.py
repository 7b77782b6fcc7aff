"""Accounts and tokens as documents of the store."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from roost.authority import Limits, Role
from roost.ids import new_id

ACCOUNT, TOKEN, ISSUER, AUDIT = "account", "account.token", "account.issuer", "account.audit"
_TEXT = re.compile(rb"roost_([0-9a-z]{24})_([0-9a-f]{48})")
_PREFIX = "tok_"
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Those by which a provider can sign and nobody else: with a shared secret, a key that is published would do."""
Globs = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=128)], ...], Meta(max_length=64)]


class AccountRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An account. agents: globs of the agents that it may use. enabled: whether its tokens work. subject: its user at
    an OpenID provider, as `ISSUER SUBJECT`. life: tells it from a later account of its name."""

    role: Role = "user"
    agents: Globs = ("*",)
    limits: Limits = Limits()
    enabled: bool = True
    subject: str | None = None
    note: str = ""
    life: str = ""


class TokenRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A token. role, agents: what of its account's rights it has. digest: of its secret; the secret itself is never
    stored. ends: wall time at which it expires. life: as its account's."""

    account: str
    role: Role
    agents: Globs
    digest: str
    life: str
    name: str = ""
    ends: float | None = None
    revoked: float | None = None


class IssuerRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An OpenID provider whose tokens are accepted. issuer: its URL, as its tokens say it. audience: whom its tokens
    must be for. algorithms: those with which it may sign. keys: the URL of its keys; None: as its discovery says."""

    issuer: str
    audience: str
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    keys: str | None = None


class NewToken(NamedTuple):
    """A token that was just made. text: what its holder shows, which is told only now."""

    id: str
    text: str
    digest: str


def make_token() -> NewToken:
    """Make a token of 192 random bits."""
    id, secret = new_id("tok"), secrets.token_hex(24)
    return NewToken(id, f"roost_{id.removeprefix(_PREFIX)}_{secret}", digest_of(secret.encode()))


def token_id(text: bytes) -> str | None:
    """Return the id of the token that a text can be; None for a text of another form."""
    found = _TEXT.fullmatch(text)
    return None if found is None else f"{_PREFIX}{found[1].decode()}"


def fits(text: bytes, digest: str) -> bool:
    """Whether a text is the token with this digest, in a time that tells nothing of the digest."""
    return hmac.compare_digest(digest_of(text.rpartition(b"_")[2]), digest)


def digest_of(secret: bytes) -> str:
    """Return what is stored of a secret. It has 192 random bits, so a slow digest would protect it no better."""
    return hashlib.sha256(secret).hexdigest()
