"""Deliver Ctrl-C and termination signals as items of the feed, not as exceptions at any place."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

from roost.cli.event_queue import EventQueue, Interrupt


class Signals:
    """While the block runs, SIGINT, SIGTERM and SIGHUP go into the feed. Main thread only. With `raising` set, during a
    question, Ctrl-C raises `KeyboardInterrupt` as usual."""

    def __init__(self, feed: EventQueue) -> None:
        self._feed = feed
        self._before: dict[signal.Signals, Any] = {}
        self.raising = False

    def __enter__(self) -> Signals:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.raising:
            raise KeyboardInterrupt
        self._feed.put(Interrupt(leave=number != signal.SIGINT))
