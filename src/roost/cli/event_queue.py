"""One queue for all input of the main thread: frames, signals, typed lines."""

from __future__ import annotations

import queue
import time
from typing import NamedTuple, TypeAlias

from roost.log.frames import Frame

_FULL = 10_000


class Ended(NamedTuple):
    """The stream has ended: the session was deleted."""


class Gap(NamedTuple):
    """The connection to the daemon was lost (True) or is back (False)."""

    lost: bool


class Interrupt(NamedTuple):
    """Ctrl-C; with `leave` a signal that asks the process to end."""

    leave: bool = False


class Typed(NamedTuple):
    """A typed line; None is the end of input."""

    line: str | None


Item: TypeAlias = Frame | Ended | Gap | Interrupt | Typed | Exception


class EventQueue:
    """Thread-safe; `put` is safe in signal handlers too. A source waits while `full`, so that memory stays bounded."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Item] = queue.SimpleQueue()

    @property
    def waiting(self) -> int:
        """Number of items that were not taken yet."""
        return self._queue.qsize()

    @property
    def full(self) -> bool:
        return self.waiting > _FULL

    def put(self, item: Item) -> None:
        self._queue.put(item)

    def wait_for_room(self) -> None:
        while self.full:
            time.sleep(0.01)

    def put_patiently(self, item: Item) -> None:
        self.wait_for_room()
        self._queue.put(item)

    def get(self, timeout: float | None = None) -> Item | None:
        """Return the next item; None when none comes in time."""
        try:
            return self._queue.get(block=timeout != 0, timeout=timeout)
        except queue.Empty:
            return None
