"""Kill orphan processes: commands of this home's dead nodes that are still running."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from roost.locks import Locks
from roost.sandbox.backend import Backend
from roost.sandbox.process_marks import reap_orphans

log = logging.getLogger("roost.leftovers")


def marker_of(home: Path, node: str) -> str:
    """Return the marker of a node's commands."""
    return f"{home.resolve()}:{node}"


def reap(home: Path, nodes: Locks, backends: Callable[[], Sequence[Backend]]) -> int:
    """Kill the commands of this home's dead nodes, and remove their sandboxes. Returns how many processes and sandbox
    remains there were. `backends` is called for each dead node. Blocks; call it in a thread without an event loop."""
    return sum(_reap(home, nodes, node, backends) for node in nodes.names())


def _reap(home: Path, nodes: Locks, node: str, backends: Callable[[], Sequence[Backend]]) -> int:
    try:
        with nodes.taking(node) as dead:
            killed = _end(marker_of(home, node), backends()) if dead else 0
    except OSError as error:
        log.error("cannot see what a crashed node left running: %s", error)
        return 0
    if killed:
        log.warning("ended %d things that a crashed node had left: processes, and parts of sandboxes", killed)
    return killed


def _end(marker: str, backends: Sequence[Backend]) -> int:
    async def sandboxes() -> int:
        return sum([await backend.reap(marker) for backend in backends])

    return reap_orphans(marker) + asyncio.run(sandboxes())
