"""Fork sessions: the shared start of the logs is stored once."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from roost.errors import NotFound
from roost.log.events import Event, Phase, SessionState
from roost.log.protocols import NewSession, SessionInfo, Snapshot, check_fork
from roost.stores.sqlite import rows
from roost.stores.sqlite.commit_group import Group
from roost.stores.sqlite.session_logs import add_first, former, insert, let_go

_WHOSE = """
WITH RECURSIVE log(s) AS (
    SELECT ?1 UNION ALL SELECT lineage.base FROM log JOIN lineage ON lineage.s = log.s WHERE lineage.upto >= ?2
) SELECT s FROM log"""
"""Follows the lineage from session ?1 to the log that has its event ?2: the last row."""


def fork(
    connection: sqlite3.Connection,
    group: Group,
    source: str,
    at: int,
    session: NewSession,
    snapshot: Snapshot,
    events: Sequence[Event],
    key: str | None,
    state: SessionState,
    phase: Phase,
) -> SessionInfo:
    if (made := former(connection, session.id, key)) is not None:
        return made
    row = connection.execute("SELECT s, head, format FROM sessions WHERE id = ?", (source,)).fetchone()
    if row is None:
        raise NotFound(f"there is no session {source!r}")
    base, head, form = row
    check_fork(source, head, at, snapshot, len(events))
    s = insert(connection, session, key, at + len(events))
    connection.execute(
        "UPDATE sessions SET shared = ?, format = ?, state = ?, phase = ? WHERE s = ?", (at, form, state, phase, s)
    )
    (*_, (owner,)) = connection.execute(_WHOSE, (base, at))
    connection.execute("INSERT INTO lineage (s, base, upto) VALUES (?, ?, ?)", (s, owner, at))
    connection.execute("INSERT INTO snapshots VALUES (?, ?, ?, ?)", (s, *snapshot))
    add_first(group, s, session.id, at, events)
    let_go(connection, "s", s)
    return rows.one(connection, "s", s)
