"""Ask for rows of the session index, whose columns are the same in every store, and convert them to the protocol's
type."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from roost.log.protocols import SessionQuery
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
    source, s = "sessions", "sessions.s"
    if query.label is not None:
        source, s = _LABELLED, "l.s"
        where.add("l.key = ? AND l.value = ? AND sessions.s = l.s", *query.label)
    if query.before is not None:
        where.add(f"{s} < (SELECT x.s FROM sessions x WHERE x.id = ?)", query.before)
    sql = f"SELECT {INFO_COLUMNS} FROM {source} WHERE {where} ORDER BY {s} DESC LIMIT ?"
    where.values.append(query.limit)
    return sql
