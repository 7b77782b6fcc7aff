"""The loop of a terminal: keys at once, frames of the session at most some 30 times a second."""

from __future__ import annotations

import contextlib
import select
import signal
import sys
import time
from collections.abc import Generator
from types import FrameType
from typing import Protocol

from roost.cli.terminal.inbox import Waker
from roost.cli.terminal.keys import Event, KeyParser, Report
from roost.cli.terminal.live import Live
from roost.cli.terminal.tty import Tty

_FRAME = 1 / 30
_ESCAPE = 0.05
"""Seconds after which an escape is a key of its own."""
_BUDGET = 0.008
"""Seconds of handling frames of the session before keys are looked at again."""
_SWITCH = 0.001
"""Seconds after which another thread gets its turn: the node may work in this process."""


class Screen(Protocol):
    """What the loop drives. All of it is called in the thread of the loop."""

    def key(self, event: Event) -> None:
        """Handle a key or pasted text."""

    def receive(self, budget: float) -> bool:
        """Handle what came from other threads, for at most `budget` seconds. Returns whether there was anything."""
        ...

    def draw(self) -> None:
        """Draw a frame."""

    def due(self) -> float | None:
        """Return the seconds until what is shown changes by itself; None: it will not."""
        ...

    def interrupt(self) -> None:
        """Handle a signal that asks the process to end: leave."""

    @property
    def left(self) -> bool:
        """True once the person has left."""
        ...


class Loop:
    """Runs one screen on the process's terminal. Main thread only."""

    def __init__(self, tty: Tty, live: Live, waker: Waker) -> None:
        self._tty, self._live, self._waker = tty, live, waker
        self._parser = KeyParser()
        self._signals: set[int] = set()
        self._drawn = 0.0
        self._late = False
        """Something changed that is not drawn yet."""

    def run(self, screen: Screen) -> None:
        interval = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH)
        try:
            with self._tty.owned(), self._handled():
                screen.draw()
                while not screen.left:
                    self._turn(screen)
        finally:
            sys.setswitchinterval(interval)

    def suspend(self) -> None:
        """Give the terminal to the shell, as Ctrl-Z asks."""
        self._live.clear()
        self._tty.suspend()
        self._resized()

    def _turn(self, screen: Screen) -> None:
        typed = self._wait(screen)
        for event in typed:
            if isinstance(event, Report):
                self._report(event)
            else:
                screen.key(event)
        self._handle_signals(screen)
        changed = screen.receive(_BUDGET)
        now = time.monotonic()
        self._late = self._late or changed
        if typed or (self._late and now - self._drawn >= _FRAME):
            self._draw(screen)

    def _draw(self, screen: Screen) -> None:
        if screen.left:
            return
        self._fit()
        screen.draw()
        self._late, self._drawn = False, time.monotonic()

    def _wait(self, screen: Screen) -> list[Event]:
        """Sleep until a key, a wake or the time of a frame. Returns the keys."""
        timeout = screen.due()
        if self._late:
            timeout = min(_FRAME if timeout is None else timeout, self._drawn + _FRAME - time.monotonic())
        if self._parser.waits:
            timeout = _ESCAPE if timeout is None else min(timeout, _ESCAPE)
        if self._signals:
            timeout = 0
        ready, _, _ = select.select([0, self._waker.source], [], [], None if timeout is None else max(0.0, timeout))
        if self._waker.source in ready:
            self._waker.rest()
        if not ready:
            self._late = True  # a spinner, or a question that takes keys now
        if 0 in ready:
            data = self._tty.read()
            if not data:
                self._signals.add(signal.SIGHUP)
            return self._parser.feed(data)
        return self._parser.flush() if self._parser.waits and not ready else []

    def _report(self, report: Report) -> None:
        if report.kind == "keyboard":
            self._tty.use_kitty()

    def _fit(self) -> None:
        size = self._tty.size()
        if size != (self._live.columns, self._live.rows):
            self._resized()

    def _resized(self) -> None:
        columns, rows = self._tty.size()
        if (max(columns, 4), max(rows, 2)) != (self._live.columns, self._live.rows):
            self._live.resize(columns, rows)

    def _handle_signals(self, screen: Screen) -> None:
        signals, self._signals = self._signals, set()
        for number in signals:
            if number == signal.SIGWINCH:
                self._resized()
                self._draw(screen)
            elif number == signal.SIGTSTP:
                self.suspend()
                self._draw(screen)
            elif number == signal.SIGCONT:
                self._tty.take()
                self._live.redraw()
                self._draw(screen)
            else:
                screen.interrupt()

    @contextlib.contextmanager
    def _handled(self) -> Generator[None]:
        """Take signals as items of the loop, while the block runs."""
        numbers = (
            signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT
        )  # fmt: skip
        before = {number: signal.signal(number, self._handle) for number in numbers}
        waking = signal.set_wakeup_fd(self._waker.target, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(waking)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._signals.add(number)
        self._waker.wake()
