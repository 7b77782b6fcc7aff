"""Identifiers: a prefix, then 48 bits of milliseconds and 72 random bits in Crockford base 32, so ids sort by age."""

from __future__ import annotations

import os
import re
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
SHORT = 8
"""Characters of a session's id that a person sees."""
_VALID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def new_id(prefix: str) -> str:
    """Return `prefix_` and 24 characters, for example `ses_01k9z3v7h8...`."""
    number = (int(time.time() * 1000) << 72) | int.from_bytes(os.urandom(9), "big")
    digits: list[str] = []
    for _ in range(24):
        number, rest = divmod(number, 32)
        digits.append(_ALPHABET[rest])
    return f"{prefix}_{''.join(reversed(digits))}"


def short(session: str) -> str:
    """Return the end of a session's id, which is its random part."""
    return session[-SHORT:] if session.startswith("ses_") else session


def is_id(text: str) -> bool:
    """Whether `text` may name a session, an agent or a key: 1 to 128 of letters, digits and `._:-`."""
    return _VALID.fullmatch(text) is not None


def is_storable(text: str) -> bool:
    """Whether every store can keep it as text: PostgreSQL has no NUL in text, UTF-8 no lone surrogates."""
    return _UNSTORABLE.search(text) is None
