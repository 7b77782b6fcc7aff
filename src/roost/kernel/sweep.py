"""Removing from the store of files what no session needs."""

from __future__ import annotations

import asyncio

from roost.agent.session import wake
from roost.errors import NotFound
from roost.kernel.load import load
from roost.log.store import Store
from roost.workspace.snapshots import Snapshots, Swept


async def sweep(store: Store, snapshots: Snapshots) -> Swept:
    """Every session whose files are in `snapshots` must be in `store`: what those of another database need would be
    taken for garbage. Nodes may go on working meanwhile. Reads the state of every session; when one cannot be read,
    nothing is removed. Raises `StoreFailed`, `UnknownEvent`, `SnapshotDamaged`."""
    keep: set[str] = set()
    async for session in store.sessions():
        try:
            state = wake(*await load(store, session, await store.snapshot(session)))
        except NotFound:  # deleted meanwhile
            continue
        if state.saved is not None:
            keep.add(state.saved)
    return await asyncio.to_thread(snapshots.sweep, keep)
