"""Read lines that are typed while the agent works."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
from collections.abc import Generator

from roost.cli.event_queue import EventQueue, Typed


class Keyboard:
    """While the block runs, whole lines of a terminal go into the feed; the end of input is `Typed(None)`. A pipe is
    not read: its next line is the next message."""

    def __init__(self, feed: EventQueue) -> None:
        self._feed = feed
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
        if not sys.stdin.isatty():
            return
        self._wake, self._bell = os.pipe()
        self._thread = threading.Thread(target=self._read, args=(sys.stdin.fileno(), self._wake), daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        if self._thread is None:
            return
        os.write(self._bell, b"x")
        self._thread.join()
        self._thread = None
        os.close(self._wake)
        os.close(self._bell)

    @contextlib.contextmanager
    def held(self) -> Generator[None]:
        """Stop reading the keyboard while the block runs."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()

    def _read(self, source: int, wake: int) -> None:
        while True:
            ready, _, _ = select.select([source, wake], [], [])
            if wake in ready:
                return
            try:
                data = os.read(source, 64 * 1024)
            except OSError:
                data = b""
            if not data:
                self._feed.put(Typed(None))
                return
            for line in data.decode("utf-8", "replace").splitlines():
                self._feed.put(Typed(line))
