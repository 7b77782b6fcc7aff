"""Other sessions that wait for a person while this one is shown."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from roost.cli.terminal.actions import Actions

if TYPE_CHECKING:
    from roost.cli.node import Node
    from roost.log.session_info import SessionInfo

_PERIOD = 15.0
"""Seconds between looks."""
LOOKED_AT = 100
"""Newest sessions that are looked at."""


class Others:
    """`count`: of those that waited when they were looked at last."""

    def __init__(self, chat: Actions) -> None:
        self._chat = chat
        self.count = 0
        self._reading = False
        self._at = time.monotonic()

    def due(self) -> float | None:
        """Return the seconds until the next look."""
        if self._reading or self._chat.link is None:
            return None
        return max(0.0, self._at + _PERIOD - time.monotonic())

    def follow(self) -> None:
        """Look again when it is time."""
        link = self._chat.link
        if link is None or self.due() != 0:
            return
        self._reading = True

        def then(found: int) -> None:
            self._reading, self._at, self.count = False, time.monotonic(), found

        def failed(error: Exception) -> None:
            then(0)

        self._chat.worker.do(lambda: _count(link.node, link.session), then, failed)


def waiting(found: Sequence[SessionInfo]) -> list[SessionInfo]:
    """Return the sessions that wait for a person, without those that wait for a child."""
    parents = {info.parent for info in found if info.phase != "idle" and info.state == "running"}
    return [one for one in found if one.phase == "waiting" and one.state == "running" and one.id not in parents]


def _count(node: Node, session: str) -> int:
    """Count the sessions that wait for a person, without this one and its children. Blocks."""
    found = waiting(node.sessions.find(limit=LOOKED_AT).sessions)
    return sum(session not in (info.id, info.parent) for info in found)
