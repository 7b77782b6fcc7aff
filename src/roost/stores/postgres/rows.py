"""Convert rows of the PostgreSQL store to the protocol's types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from roost.log.inputs import decode_input
from roost.log.protocols import InboxItem, Record, SessionInfo, SessionQuery
from roost.stores.session_rows import INFO_COLUMNS, session_info


def info(row: Sequence[Any]) -> SessionInfo:
    """Make a `SessionInfo` from a row of `INFO_COLUMNS`."""
    return session_info(row, row[15])


def records(head: int, bodies: Sequence[bytes]) -> list[Record]:
    """Make records for the events from `head + 1` on."""
    return [Record(seq, body) for seq, body in enumerate(bodies, head + 1)]


def inbox(ids: Sequence[int], at: Sequence[float], bodies: Sequence[bytes]) -> list[InboxItem]:
    return [InboxItem(id, decode_input(body), time) for id, time, body in zip(ids, at, bodies, strict=True)]


def find(query: SessionQuery) -> tuple[str, list[Any]]:
    """Return the statement and its values for a query."""
    where: list[str] = []
    values: list[Any] = []

    def condition(text: str, *given: Any) -> None:
        for value in given:
            values.append(value)
            text = text.replace("?", f"${len(values)}", 1)
        where.append(text)

    for column in ("agent", "state", "parent", "owner"):
        value = getattr(query, column)
        if value is not None:
            condition(f"{column} = ?", value)
    if query.label is not None:
        condition("labels @> jsonb_build_object(?::text, ?::text)", *query.label)
    if query.ids is not None:
        condition("id = ANY (?::text[])", list(query.ids))
    if query.before is not None:
        condition("s < (SELECT s FROM sessions WHERE id = ?)", query.before)
    values.append(query.limit)
    filters = f" WHERE {' AND '.join(where)}" if where else ""
    return f"SELECT {INFO_COLUMNS} FROM sessions{filters} ORDER BY s DESC LIMIT ${len(values)}", values
