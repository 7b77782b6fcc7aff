"""Inboxes in the SQLite store."""

from __future__ import annotations

import sqlite3
import time

from roost.errors import Busy, Conflict, NotFound
from roost.log.inputs import Input, admits, encode_input, input_digest
from roost.log.protocols import Accepted, Change, InboxItem
from roost.stores.sqlite import rows
from roost.stores.sqlite.commit_group import Group
from roost.stores.sqlite.database import Part, reads
from roost.stores.sqlite.work import put

INBOX_LIMIT = 1000
"""Pending inputs of one session; more are refused with `Busy`."""


class SqliteInboxes(Part):
    async def accept(self, session: str, item: Input, *, key: str | None = None, sent: Input | None = None) -> Accepted:
        digest = None if key is None else input_digest(sent or item)
        return await self.database.write(lambda group: _accept(group, session, item, key, digest))

    @reads
    def pending(self, connection: sqlite3.Connection, session: str) -> list[InboxItem]:
        return rows.inbox(connection, rows.number(connection, session))


def _accept(group: Group, session: str, item: Input, key: str | None, digest: bytes | None) -> Accepted:
    connection = group.connection
    row = connection.execute("SELECT s, state, phase, pending, head FROM sessions WHERE id = ?", (session,)).fetchone()
    if row is None:
        raise NotFound(f"there is no session {session!r}")
    s, state, phase, pending, head = row
    body = encode_input(item)
    if key is not None:
        seen = connection.execute("SELECT id, digest FROM inbox WHERE s = ? AND key = ?", (s, key)).fetchone()
        if seen is not None:
            if seen[1] != digest:
                raise Conflict(f"the key {key!r} was used for another input", code="idempotency_mismatch")
            return Accepted(seen[0], True, head)
    if state in ("stopped", "error") and item.urgency == 0:
        raise Conflict(f"session {session!r} is {state}; start it again first", code=f"session_{state}")
    if pending >= INBOX_LIMIT and item.urgency == 0:
        raise Busy(f"session {session!r} has {pending} inputs waiting; try again when some are done", code="inbox_full")
    now = time.time()
    ready = item.urgency >= admits(state, phase)
    place = put(connection, s, body, item.urgency, now, ready=ready, key=key, digest=digest)
    group.changes.append(Change(session, inbox=(InboxItem(place, item, now),)))
    return Accepted(place, False, head)
