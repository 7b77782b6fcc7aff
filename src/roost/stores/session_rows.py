"""Ask for rows of the session index, whose columns are the same in every store, and convert them to the protocol's
type."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from roost.authority import ACCOUNT
from roost.errors import TooManySessions
from roost.log.protocols import NewSession, SessionQuery
from roost.log.session_info import SessionInfo
from roost.stores.conditions import Conditions

INFO_COLUMNS = (
    "id, agent, version, state, phase, head, created_at, updated_at, workspace, title, parent, labels, owner, epoch,"
    " pending, needs, home, format"
)
_LABELLED = "session_labels l CROSS JOIN sessions"
_labels: msgspec.json.Decoder[dict[str, str]] = msgspec.json.Decoder(dict[str, str])


def session_info(row: Sequence[Any], needs: Iterable[str]) -> SessionInfo:
    """Make a `SessionInfo` from a row of `INFO_COLUMNS`. needs: replaces that column, which each store encodes
    differently. The `labels` column is JSON. Raises `msgspec.MsgspecError`."""
    return SessionInfo(
        id=row[0],
        agent=row[1],
        version=row[2],
        state=row[3],
        phase=row[4],
        head=row[5],
        created_at=row[6],
        updated_at=row[7],
        workspace=row[8],
        title=row[9],
        parent=row[10],
        labels=_labels.decode(row[11]),
        owner=row[12],
        epoch=row[13],
        pending=row[14],
        needs=tuple(needs),
        home=row[16],
        format=row[17],
    )


def sessions_sql(query: SessionQuery, where: Conditions) -> str:
    """Return the statement that finds sessions, newest first. Adds to `where`, which has the conditions that each store
    writes differently."""
    for column in ("agent", "state", "parent", "owner"):
        if (value := getattr(query, column)) is not None:
            where.add(f"{column} = ?", value)
    source, s, labels = "sessions", "sessions.s", _labels_of(query)
    if labels:
        source, s = _LABELLED, "l.s"
        where.add("l.key = ? AND l.value = ? AND sessions.s = l.s", *labels[0])
    for label in labels[1:]:
        where.add("EXISTS (SELECT 1 FROM session_labels o WHERE o.key = ? AND o.value = ? AND o.s = l.s)", *label)
    if query.key is not None:
        where.add("sessions.create_key = ?", query.key)
    if query.before is not None:
        where.add(f"{s} < (SELECT x.s FROM sessions x WHERE x.id = ?)", query.before)
    sql = f"SELECT {INFO_COLUMNS} FROM {source} WHERE {where} ORDER BY {s} DESC LIMIT ? OFFSET ?"
    where.values += [query.limit, query.skip]
    return sql


def last_with_room(session: NewSession) -> SessionQuery | None:
    """Return the query that finds a session if the account of a new one has no room for it; None without a limit."""
    account = session.labels.get(ACCOUNT)
    if session.most is None or account is None:
        return None
    return SessionQuery(account=account, skip=max(0, session.most - 1), limit=1)


def no_room(session: NewSession) -> TooManySessions:
    account = session.labels.get(ACCOUNT)
    return TooManySessions(
        f"account {account!r} has {session.most} sessions, as many as it may: delete some, or ask an owner for more"
    )


def _labels_of(query: SessionQuery) -> list[tuple[str, str]]:
    """Return the labels that sessions must have, the rarest first."""
    account = None if query.account is None else (ACCOUNT, query.account)
    return [label for label in (query.label, account) if label is not None]
