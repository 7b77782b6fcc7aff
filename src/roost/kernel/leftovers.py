"""Commands that outlived their node: whoever starts next finds the nodes of the home that nobody is any more."""

from __future__ import annotations

import logging
from pathlib import Path

from roost.locks import Locks
from roost.sandbox.marks import reap_orphans

log = logging.getLogger("roost.leftovers")


def marker_of(home: Path, node: str) -> str:
    """What the commands of a node are marked with."""
    return f"{home.resolve()}:{node}"


def reap(home: Path, nodes: Locks) -> int:
    """Kill what dead nodes of this home left running. Returns how many processes that were. Blocks."""
    return sum(_reap(home, nodes, node) for node in nodes.names())


def _reap(home: Path, nodes: Locks, node: str) -> int:
    try:
        with nodes.taking(node) as dead:
            killed = reap_orphans(marker_of(home, node)) if dead else 0
    except OSError as error:
        log.error("cannot see what a crashed node left running: %s", error)
        return 0
    if killed:
        log.warning("killed %d processes that a crashed node had left running", killed)
    return killed
