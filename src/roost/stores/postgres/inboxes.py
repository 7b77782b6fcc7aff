"""Create sessions, accept inputs, delete sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from roost.errors import Busy, Conflict, NotFound
from roost.log.events import Event, encode_event
from roost.log.inputs import Input, encode_input, input_digest, urgency
from roost.log.protocols import InboxItem, NewSession, SessionInfo
from roost.stores.postgres.database import Link, Pool
from roost.stores.postgres.partitions import with_room

INBOX_LIMIT = 1000
"""Pending inputs of one session; more are refused with `Busy`."""
_CREATE = "SELECT s, same, at FROM create_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
_ACCEPT = (
    "SELECT outcome, taken.id, at, taken.owner, coalesce((SELECT head FROM sessions WHERE sessions.id = $1), 0)"
    " FROM accept_1($1, $2, $3, $4, $5, $6) AS taken"
)
"""The head is read before the insert; it is missing for a session that is created in between."""
_encode_json = msgspec.json.Encoder().encode


async def create(
    pool: Pool, session: NewSession, events: Sequence[Event], key: str | None
) -> tuple[int | None, SessionInfo | str, list[bytes]]:
    """Return the row number, row and events of the created session; or no number and the id of the session that has the
    key."""
    bodies = [encode_event(event) for event in events]

    async def make(link: Link) -> Any:
        return await link.fetchrow(
            _CREATE,
            session.id,
            key,
            session.agent,
            session.version,
            session.workspace,
            session.title,
            session.parent,
            _encode_json(session.labels).decode(),
            list(session.needs),
            bodies,
        )

    row = await pool.run(lambda link: with_room(link, lambda: make(link)), repeat=key is not None)
    s, same, at = row
    if same is not None:
        return None, same, []
    if s is None:
        raise Conflict(f"there is already a session {session.id!r}", code="session_exists")
    info = SessionInfo(
        **{name: getattr(session, name) for name in session.__struct_fields__},
        state="created",
        phase="idle",
        head=len(bodies),
        created_at=at,
        updated_at=at,
    )
    return s, info, bodies


class Taken(msgspec.Struct):
    """An accepted input. item: None for a repetition. owner, head: of the session."""

    id: int
    item: InboxItem | None
    owner: str | None
    head: int


async def accept(pool: Pool, session: str, item: Input, key: str | None, sent: Input) -> Taken:
    body = encode_input(item)
    digest = None if key is None else input_digest(sent)
    row: Any = await pool.run(
        lambda link: link.fetchrow(_ACCEPT, session, key, digest, urgency(item), body, INBOX_LIMIT),
        repeat=key is not None,
    )
    outcome, place, at, owner, head = row
    match outcome:
        case "accepted":
            return Taken(place, InboxItem(place, item, at), owner, head)
        case "duplicate":
            return Taken(place, None, owner, head)
        case "not_found":
            raise NotFound(f"there is no session {session!r}")
        case "mismatch":
            raise Conflict(f"the key {key!r} was used for another input", code="idempotency_mismatch")
        case "busy":
            raise Busy(
                f"session {session!r} has {INBOX_LIMIT} inputs waiting; try again when some are done", code="inbox_full"
            )
        case state:
            raise Conflict(f"session {session!r} is {state}; start it again first", code=f"session_{state}")


async def delete(pool: Pool, session: str, epoch: int | None) -> int:
    """Hide the session at once; `purge` removes its events piece by piece. Returns its row number."""
    row: Any = await pool.run(
        lambda link: link.fetchrow("SELECT outcome, s FROM delete_1($1, $2)", session, epoch), repeat=False
    )
    if row[0] == "not_found":
        raise NotFound(f"there is no session {session!r}")
    if row[0] == "busy":
        raise Conflict(f"session {session!r} is in use: stop it first", code="session_busy")
    return row[1]


async def purge(pool: Pool, s: int, count: int = 2000) -> None:
    """Remove what no fork needs of a deleted session, and of the deleted sessions that it was forked from."""
    following: int | None = s
    while following is not None:
        following = await pool.run(lambda link, s=following: link.fetchval("SELECT purge_2($1, $2)", s, count))
