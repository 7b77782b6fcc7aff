"""State shared by the operations of one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from roost.log.protocols import Change


class Group:
    """One transaction of the writer's thread. connection: runs its statements. changes: published after the commit.
    numbers: row numbers of sessions in use, kept across groups (a number is never reused)."""

    def __init__(self, connection: sqlite3.Connection, numbers: dict[str, int]) -> None:
        self.connection = connection
        self.changes: list[Change] = []
        self.numbers = numbers
        self._events: list[tuple[int, int, bytes]] = []

    def add_events(self, s: int, head: int, bodies: Sequence[bytes]) -> None:
        """Add the events from `head + 1` on of a session. They reach the table at `store_events`."""
        self._events += [(s, seq, body) for seq, body in enumerate(bodies, head + 1)]

    def store_events(self) -> None:
        """Insert all added events in one statement. Call it at the end of the group, and before any operation in it
        reads events."""
        if self._events:
            self.connection.executemany("INSERT INTO events (s, seq, body) VALUES (?, ?, ?)", self._events)
            self._events = []
