"""What the operations of one shared transaction have in common."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from roost.log.protocols import Change


class Group:
    """Of the writer's thread. `changes` is told after the commit. `numbers`: the row numbers of sessions in use, kept
    over groups (a number is never given twice)."""

    def __init__(self, connection: sqlite3.Connection, numbers: dict[str, int]) -> None:
        self.changes: list[Change] = []
        self.numbers = numbers
        self._connection = connection
        self._events: list[tuple[int, int, bytes]] = []

    def add_events(self, s: int, head: int, bodies: Sequence[bytes]) -> None:
        """Events `head + 1` and on of a session. They are in the table after `store_events`."""
        self._events += [(s, seq, body) for seq, body in enumerate(bodies, head + 1)]

    def store_events(self) -> None:
        """One statement for all: at the end of the group, and before anything in it reads events."""
        if self._events:
            self._connection.executemany("INSERT INTO events (s, seq, body) VALUES (?, ?, ?)", self._events)
            self._events = []
