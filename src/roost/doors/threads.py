"""Conversations that a client names: each is the session of that name."""

from __future__ import annotations

import hashlib

from roost.authority import current
from roost.ids import is_id


def session_of(thread: str) -> str:
    """Return the session of a thread: the one of its name, if sessions can have that name, of the caller's account."""
    name = thread if is_id(thread) else f"thread_{hashlib.blake2b(thread.encode(), digest_size=12).hexdigest()}"
    return current().session_id(name)
