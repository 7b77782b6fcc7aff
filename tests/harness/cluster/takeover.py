"""How long a node's sessions stand still when it goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from roost.errors import StoreFailed
from roost.log.protocols import SessionQuery
from roost.log.session_info import SessionInfo
from roost.log.store import Store

_POLL_SECONDS = 0.01
_NEWEST = 200


async def at_work(store: Store, node: str) -> dict[str, SessionInfo]:
    """The sessions that this node owns in the middle of a turn."""
    return {info.id: info for info in await _newest(store) if info.owner == node and _at_work(info)}


async def takeovers(store: Store, sessions: Mapping[str, SessionInfo], since: float, limit: float) -> dict[str, float]:
    """For each of the sessions the seconds from `since` (of the monotonic clock) to the first commit that a later owner
    made, as somebody sees it who looks every 10 ms; `limit` when there is none until then. A session that was not
    running any more when its owner went has nothing to be taken over."""
    open_ones, heads, found = dict(sessions), {name: info.head for name, info in sessions.items()}, dict[str, float]()
    while open_ones and time.monotonic() - since < limit:
        now = {info.id: info for info in await _newest(store)}
        at = time.monotonic() - since
        for name, before in list(open_ones.items()):
            info = now.get(name)
            if info is None or (info.epoch == before.epoch and not _at_work(info)):
                del open_ones[name]  # it was done, or paused
            elif info.epoch == before.epoch:
                heads[name] = info.head
            elif info.head > heads[name]:
                found[name] = at
                del open_ones[name]
        await asyncio.sleep(_POLL_SECONDS)
    return found | dict.fromkeys(open_ones, limit)


def _at_work(info: SessionInfo) -> bool:
    return info.state == "running" and info.phase == "working"


async def _newest(store: Store) -> Sequence[SessionInfo]:
    try:
        return await store.sessions.find(SessionQuery(limit=_NEWEST))
    except StoreFailed:
        return []
