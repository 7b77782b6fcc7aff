"""Reading what a session's state is folded from."""

from __future__ import annotations

from roost.agent.state import STATE_VERSION
from roost.log.journal import Journal, Record, Snapshot


async def load(journal: Journal, session: str, snapshot: Snapshot | None) -> tuple[Snapshot | None, list[Record]]:
    """For `wake`: the snapshot, if it is of this version, and all events after it. Raises `NotFound`."""
    if snapshot is not None and snapshot.version != STATE_VERSION:
        snapshot = None
    after = 0 if snapshot is None else snapshot.seq
    tail: list[Record] = []
    while page := await journal.read(session, after=tail[-1].seq if tail else after):
        tail.extend(page)
    return snapshot, tail
