"""Sign-ins of browsers as documents of the store.

A secret has 256 random bits and is never stored: a document has its digest as id. The secret of a sign-in has two
halves of that size: browsers send the cookie to every port of a host, and the page's half to its own daemon alone."""

from __future__ import annotations

import hashlib
import secrets

import msgspec

from roost.authority import Authority

CODE, SIGN_IN = "console.code", "console.sign_in"
CODE_SECONDS = 300.0
SIGN_IN_SECONDS = 14 * 86_400.0
SIGN_INS = 50
"""Most browsers that an account is signed in with. The oldest makes room for a new one."""
READERS = 8
"""Most secrets that are looked up at a time: guesses of many do not take all connections of the store."""
_PREFIX = b"roost-browser-"
_BYTES = 32
_LETTERS = 43


class SignIn(msgspec.Struct, frozen=True, kw_only=True):
    """What the holder of a secret may do until `ends`, in seconds since 1970. authority: that of the one that signed
    in. It holds only as long as the account's token does, or the home's, which `authority.token` names."""

    authority: Authority
    ends: float


def new_secret() -> str:
    return _PREFIX.decode() + secrets.token_urlsafe(_BYTES)


def new_half() -> str:
    """Return the half of a sign-in that the page keeps."""
    return secrets.token_urlsafe(_BYTES)


def is_secret(text: bytes) -> bool:
    """Whether a text has the form of a sign-in: both halves, with a dot between them."""
    return text.startswith(_PREFIX) and len(text) == len(_PREFIX) + 2 * _LETTERS + 1 and text[-_LETTERS - 1] == b"."[0]


def digest_of(secret: str | bytes) -> str:
    """Return the id of a secret's document. A slow digest would protect 256 random bits no better."""
    return hashlib.sha256(secret if isinstance(secret, bytes) else secret.encode()).hexdigest()


def read(body: bytes) -> SignIn:
    return msgspec.json.decode(body, type=SignIn)
