"""Show the progress of a long store operation on standard error."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roost.kernel.check import Checked
    from roost.stores.copy import Copied

_EVERY = {True: 0.2, False: 10.0}
"""Seconds between updates, on a terminal and elsewhere."""


class Line:
    """One line that is overwritten on a terminal; elsewhere a new line now and then."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._live = sys.stderr.isatty()
        self._next = time.monotonic() + _EVERY[self._live]

    def copied(self, done: Copied) -> None:
        self._say(f"{done.copied + done.replaced + done.same} sessions, {done.events} events")

    def checked(self, done: Checked) -> None:
        self._say(f"{done.sessions} sessions, {done.events} events")

    def looked(self, sessions: int) -> None:
        self._say(f"{sessions} sessions")

    def end(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _say(self, how_far: str) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY[self._live]
        text = f"{self._verb}: {how_far}"
        sys.stderr.write(f"\r{text}\x1b[K" if self._live else f"{text}\n")
        sys.stderr.flush()
