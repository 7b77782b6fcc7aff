"""Probe the isolation levels that waiting sessions need and that this node has not probed yet."""

from __future__ import annotations

import contextlib

from roost.kernel.sandboxes import Sandboxes
from roost.log.protocols import SessionQuery
from roost.log.store import Store
from roost.sandbox.choose import Isolation, IsolationUnavailable

_ASKED = 200
"""Sessions per look, those that have waited longest."""
_TAG = "sandbox:"


async def probe_levels(store: Store, sandboxes: Sandboxes) -> bool:
    """Probe a higher isolation level when a session with work needs it. Returns whether the node now offers more. A
    probe runs a whole guest, so a starting node makes none, and offers no level unprobed. Raises `StoreFailed`."""
    if sandboxes.chooser.probed:
        return False
    before = sandboxes.level
    ready = await store.dispatch.ready(limit=_ASKED)
    waiting = await store.sessions.find(SessionQuery(ids=tuple(ready), limit=len(ready))) if ready else []
    wanted = {tag for info in waiting for tag in info.needs}
    for level in (1, 2):
        if f"{_TAG}{level}" in wanted and level > sandboxes.level:
            with contextlib.suppress(IsolationUnavailable):
                await sandboxes.choose(Isolation(required=level))
    return sandboxes.level > before
