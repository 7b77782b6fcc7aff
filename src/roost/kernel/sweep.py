"""Remove snapshots that no session needs from the snapshot store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Event

import msgspec

from roost.errors import NotFound, StoreCorrupt, UnknownEvent
from roost.kernel.state_loader import load_state
from roost.log.store import Store
from roost.workspace.snapshots import SharedSnapshots, Swept

_READS_AT_ONCE = 4


async def sweep(
    store: Store,
    snapshots: SharedSnapshots,
    *,
    dry: bool = False,
    progress: Callable[[int], None] = lambda sessions: None,
) -> Swept:
    """Remove unused snapshots. Reads the state of every session, and reports their number to `progress`. Every session
    with files in `snapshots` must be in `store`: the snapshots of another database would be taken for garbage. Nodes
    may run meanwhile. If one session cannot be read, nothing is removed; `dry` removes nothing at all. Stops soon when
    cancelled.

    Raises `StoreFailed`, `StoreCorrupt` and `UnknownEvent` with the session's id, and what `Snapshots.sweep` raises.
    """
    keep: dict[str, str] = {}
    seen = 0
    waiting: list[str] = []

    async def look() -> None:
        nonlocal seen
        for session, saved in zip(waiting, await asyncio.gather(*(_saved(store, one) for one in waiting)), strict=True):
            keep.update(dict.fromkeys(saved, f"session {session!r}"))
        seen += len(waiting)
        waiting.clear()
        progress(seen)

    async for session in store.portable.sessions():
        waiting.append(session)
        if len(waiting) == _READS_AT_ONCE:
            await look()
    await look()
    stop = Event()
    try:
        return await asyncio.to_thread(snapshots.sweep, keep, stop, dry=dry)
    finally:
        stop.set()


async def _saved(store: Store, session: str) -> list[str]:
    """Return the snapshots that a session may be restored to."""
    try:
        return (await load_state(store, session)).shared_snapshots
    except NotFound:  # deleted meanwhile
        return []
    except UnknownEvent as error:
        raise UnknownEvent(f"{_SKIPPED.format(session)}: {error}") from error
    except (StoreCorrupt, msgspec.MsgspecError) as error:
        raise StoreCorrupt(f"{_SKIPPED.format(session)}: {error}. `roost store check` says more") from error


_SKIPPED = "session {!r} cannot be read, so nothing is removed"
