"""Convert a row of the session index, whose columns are the same in every store, to the protocol's type."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from roost.log.session_info import SessionInfo

INFO_COLUMNS = (
    "id, agent, version, state, phase, head, created_at, updated_at, workspace, title, parent, labels, owner, epoch,"
    " pending, needs, home, format"
)
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
