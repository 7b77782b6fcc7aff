"""Commands that outlived their node: whoever starts next finds the nodes of the home that nobody is any more."""

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
    """What the commands of a node are marked with."""
    return f"{home.resolve()}:{node}"


def reap(home: Path, nodes: Locks, backends: Callable[[], Sequence[Backend]]) -> int:
    """Kill what dead nodes of this home left running, and remove their sandboxes. Returns how many processes that were,
    with what else was left of sandboxes. `backends` is called for each of the dead. Blocks; to be called in a thread
    without an event loop."""
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
