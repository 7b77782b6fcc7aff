"""Convert rows of the PostgreSQL store to the protocol's types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from roost.log.inputs import decode_input
from roost.log.protocols import InboxItem, Record
from roost.log.session_info import SessionInfo
from roost.stores.session_rows import INFO_COLUMNS as INFO_COLUMNS
from roost.stores.session_rows import session_info


def info(row: Sequence[Any]) -> SessionInfo:
    """Make a `SessionInfo` from a row of `INFO_COLUMNS`."""
    return session_info(row, row[15])


def records(head: int, bodies: Sequence[bytes]) -> list[Record]:
    """Make records for the events from `head + 1` on."""
    return [Record(seq, body) for seq, body in enumerate(bodies, head + 1)]


def inbox(ids: Sequence[int], at: Sequence[float], bodies: Sequence[bytes]) -> list[InboxItem]:
    return [InboxItem(id, decode_input(body), time) for id, time, body in zip(ids, at, bodies, strict=True)]
