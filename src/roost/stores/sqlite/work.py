"""Insert inputs into inboxes, and tell which sessions have work."""

from __future__ import annotations

import sqlite3
import time
from typing import Literal, get_args

from roost.log.inputs import admits
from roost.log.session_info import Phase, SessionState

_ADMITS = " ".join(
    f"WHEN state = '{state}' AND phase = '{phase}' THEN {admits(state, phase)}"
    for state in get_args(SessionState)
    for phase in get_args(Phase)
)
HAS_WORK = (
    "(state = 'running' AND phase = 'working' OR pending > 0 AND EXISTS (SELECT 1 FROM inbox"
    f" WHERE inbox.s = sessions.s AND taken = 0 AND urgency >= CASE {_ADMITS} END))"
)


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


def let_go(connection: sqlite3.Connection, column: Literal["s", "owner"], value: object) -> None:
    """Clear the owner of these sessions, and compute anew whether they have work."""
    connection.execute(
        f"UPDATE sessions SET owner = NULL, ready = {HAS_WORK}, ready_at = ? WHERE {column} = ?", (time.time(), value)
    )
