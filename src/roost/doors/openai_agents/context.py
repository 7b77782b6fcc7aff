"""What the parts of this door share."""

from __future__ import annotations

import hashlib
import time
from typing import Any, TypeVar

import msgspec
from starlette.types import Receive, Scope

from roost.authority import current
from roost.doors.requested import LOST_SECONDS, Answered, gone_or_own
from roost.errors import Invalid, NotFound
from roost.log.documents import Documents
from roost.server.app_state import Api
from roost.server.request_body import decode_body, header, read_body

T = TypeVar("T")
BODY_BYTES = 16 * 1024 * 1024
"""Most bytes of a request in JSON."""


class Context:
    """name: the `source` of messages that come through this door. owner: the account that resources belong to."""

    def __init__(self, name: str, api: Api) -> None:
        self.name, self.api, self.runtime, self.sessions = name, api, api.runtime, api.sessions
        self.answered = Answered()
        self.node = api.runtime.node.id

    @property
    def documents(self) -> Documents:
        return self.runtime.node.store.documents

    async def may_be_lost(self, made: str, node: str, at: float) -> bool:
        """Whether a client may not have got the answer to the request that made this, which `node` took at wall time
        `at`. A node that still runs has answered soon after, and a client that got no answer has sent again soon after
        that; of a node that is gone nobody knows. Raises `StoreFailed`."""
        if not self.answered.may_be_lost(made):
            return False
        return time.time() - at < LOST_SECONDS or await gone_or_own(self.runtime.node, node)

    def owner(self, scope: Scope) -> str:
        """Return the account of a request; empty for one that acts for the home, whose resources are no account's."""
        who = current()
        return (who.account or "") if who.confined else ""


async def body_of(scope: Scope, receive: Receive, kind: type[T]) -> T:
    """Read a body in JSON. Raises `Invalid`, `Refused`."""
    data = await read_body(scope, receive, limit=BODY_BYTES)
    return decode_body(scope, data or b"{}", msgspec.json.Decoder(kind))


def digest(*parts: str) -> str:
    return hashlib.blake2b("\n".join(parts).encode("utf-8", "replace"), digest_size=15).hexdigest()


def request_key(scope: Scope) -> str | None:
    """Return the idempotency key of a request. Raises `Invalid`."""
    key = header(scope, b"idempotency-key")
    if key is not None and not 1 <= len(key) <= 255:
        raise Invalid("Idempotency-Key: 1 to 255 characters")
    return key


def is_repeated(scope: Scope) -> bool:
    """Whether the client says that it sends the request again."""
    return (header(scope, b"x-stainless-retry-count") or "0") != "0"


def missing(what: str, id: Any) -> NotFound:
    return NotFound(f"there is no {what} {str(id)[:200]!r} here", code="resource_not_found")
