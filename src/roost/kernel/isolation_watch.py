"""Probe the isolation levels that waiting sessions need and that this node has not probed yet."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from roost.log.protocols import SessionQuery
from roost.sandbox.choose import Isolation, IsolationUnavailable

if TYPE_CHECKING:
    from roost.kernel.node import Node

_ASKED = 200
"""Sessions per look, those that have waited longest."""
_TAG = "sandbox:"


async def look_for_levels(node: Node) -> None:
    """Probe a higher isolation level when a session with work needs it. A probe runs a whole guest, so a starting node
    makes none, and offers no level unprobed. Raises `StoreFailed`."""
    sandboxes = node.sandboxes
    if sandboxes.chooser.probed:
        return
    before = sandboxes.level
    wanted = await _waited_for(node)
    for level in (1, 2):
        if f"{_TAG}{level}" in wanted and level > sandboxes.level:
            with contextlib.suppress(IsolationUnavailable):
                await sandboxes.choose(Isolation(required=level))
    if sandboxes.level > before:
        await node.renew()
        node.scan()


async def _waited_for(node: Node) -> set[str]:
    ready = await node.dispatcher.ready(limit=_ASKED)
    found = await node.journal.find(SessionQuery(ids=tuple(ready), limit=len(ready))) if ready else []
    return {tag for info in found for tag in info.needs}
