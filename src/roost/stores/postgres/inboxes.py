"""Inboxes in the PostgreSQL store."""

from __future__ import annotations

from typing import Any

from roost.errors import Busy, Conflict, NotFound
from roost.log.inputs import Input, encode_input, input_digest
from roost.log.protocols import Accepted, Change, InboxItem
from roost.stores.postgres import rows
from roost.stores.postgres.changes import PostgresChanges
from roost.stores.postgres.database import Pool

INBOX_LIMIT = 1000
"""Pending inputs of one session; more are refused with `Busy`."""
_ACCEPT = (
    "SELECT outcome, taken.id, at, taken.owner, coalesce((SELECT head FROM sessions WHERE sessions.id = $1), 0)"
    " FROM accept_1($1, $2, $3, $4, $5, $6) AS taken"
)
"""The head is read before the insert; it is missing for a session that is created in between."""
_PENDING = """
SELECT i.id, i.accepted_at, i.body FROM sessions x LEFT JOIN inbox i ON i.s = x.s AND NOT i.taken
WHERE x.id = $1 ORDER BY i.id"""


class PostgresInboxes:
    def __init__(self, pool: Pool, changes: PostgresChanges) -> None:
        self._pool, self._changes = pool, changes

    async def accept(self, session: str, item: Input, *, key: str | None = None, sent: Input | None = None) -> Accepted:
        body = encode_input(item)
        digest = None if key is None else input_digest(sent or item)
        row: Any = await self._pool.run(
            lambda link: link.fetchrow(_ACCEPT, session, key, digest, item.urgency, body, INBOX_LIMIT),
            repeat=key is not None,
        )
        outcome, place, at, owner, head = row
        match outcome:
            case "accepted":
                self._changes.accepted(Change(session, inbox=(InboxItem(place, item, at),)), owner)
                return Accepted(place, False, head)
            case "duplicate":
                return Accepted(place, True, head)
            case "not_found":
                raise NotFound(f"there is no session {session!r}")
            case "mismatch":
                raise Conflict(f"the key {key!r} was used for another input", code="idempotency_mismatch")
            case "busy":
                waiting = f"session {session!r} has {INBOX_LIMIT} inputs waiting; try again when some are done"
                raise Busy(waiting, code="inbox_full")
            case state:
                raise Conflict(f"session {session!r} is {state}; start it again first", code=f"session_{state}")

    async def pending(self, session: str) -> list[InboxItem]:
        found = await self._pool.run(lambda link: link.fetch(_PENDING, session))
        if not found:
            raise NotFound(f"there is no session {session!r}")
        if found[0][0] is None:
            return []
        return rows.inbox(*zip(*found, strict=True))
