"""One queue for everything that the main thread reacts to: frames, signals, typed lines."""

from __future__ import annotations

import queue
import time
from typing import NamedTuple, TypeAlias

from roost.kernel.stream import Frame

_FULL = 10_000


class Ended(NamedTuple):
    """The stream is over: the session was deleted."""


class Gap(NamedTuple):
    """The connection to the daemon was lost (True) or is back (False)."""

    lost: bool


class Interrupt(NamedTuple):
    """Ctrl-C; `leave` for a signal that wants the process to end."""

    leave: bool = False


class Typed(NamedTuple):
    """A line of the keyboard; None is the end of it."""

    line: str | None


Item: TypeAlias = Frame | Ended | Gap | Interrupt | Typed | Exception


class Feed:
    """Any thread and any signal handler may put. A source waits while `full`, so that memory stays bounded."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Item] = queue.SimpleQueue()

    @property
    def full(self) -> bool:
        return self._queue.qsize() > _FULL

    def put(self, item: Item) -> None:
        self._queue.put(item)

    def wait_for_room(self) -> None:
        while self.full:
            time.sleep(0.01)

    def put_patiently(self, item: Item) -> None:
        self.wait_for_room()
        self._queue.put(item)

    def get(self, timeout: float | None = None) -> Item | None:
        """The next item; None when there is none in time."""
        try:
            return self._queue.get(block=timeout != 0, timeout=timeout)
        except queue.Empty:
            return None
