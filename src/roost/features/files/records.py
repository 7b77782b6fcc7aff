"""Shared folders and shared files, as documents of the store.

A link carries a signature by the cluster's secret, so a forged one is refused without a look at the store; the document
says whether it still holds. The shared bytes are a copy, made when the file is shared: a link never shows what the file
becomes later."""

from __future__ import annotations

import hashlib
import hmac

import msgspec

SPACE, SHARE = "file.space", "file.share"
MOST_SECONDS = 90 * 86_400.0
_MAC = 32


class SpaceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that an operator shares. home: where it is. account: who may use it besides the home; empty for nobody.
    writable: they may also write."""

    name: str
    folder: str
    home: str
    account: str = ""
    writable: bool = False


class ShareRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A link. name: of the file. source: the session or space that it is from. upload: the copy of its content. by: the
    account that made it; empty for the home."""

    id: str
    name: str
    path: str
    source: str
    size: int
    digest: str
    upload: str
    created: float
    expires: float
    by: str = ""


def token_of(secret: bytes, id: str, expires: float) -> str:
    """Return the part of a link that shows the right to the file."""
    return f"{id}.{int(expires)}.{_mac(secret, id, int(expires))}"


def checked(secret: bytes, token: str) -> tuple[str, int] | None:
    """Return the id and the end of a token that was made here; None for any other."""
    id, _, rest = token.partition(".")
    expires, _, mac = rest.partition(".")
    if not (id and expires.isascii() and expires.isdecimal() and len(expires) < 12 and mac.isascii()):
        return None
    return (id, int(expires)) if hmac.compare_digest(mac, _mac(secret, id, int(expires))) else None


def _mac(secret: bytes, id: str, expires: int) -> str:
    key = hmac.new(secret, b"roost file share", hashlib.sha256).digest()
    return hmac.new(key, f"{id} {expires}".encode(), hashlib.sha256).hexdigest()[: _MAC * 2]
