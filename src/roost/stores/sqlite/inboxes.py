"""Insert inputs into inboxes."""

from __future__ import annotations

import sqlite3


def put(
    connection: sqlite3.Connection,
    s: int,
    body: bytes,
    level: int,
    at: float,
    *,
    ready: bool,
    key: str | None = None,
    digest: bytes | None = None,
) -> int:
    """Insert an input. Returns its number within the session."""
    ((place,),) = connection.execute(
        "UPDATE sessions SET inputs = inputs + 1, pending = pending + 1, updated_at = ?1,"
        " ready_at = iif(ready, ready_at, ?1), ready = ready OR ?2 WHERE s = ?3 RETURNING inputs",
        (at, ready, s),
    )
    connection.execute(
        "INSERT INTO inbox (s, id, key, digest, urgency, accepted_at, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (s, place, key, digest, level, at, body),
    )
    return place
