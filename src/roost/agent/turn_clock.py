"""The working time of a turn and its limit."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from roost.agent.definition import Limits, tightened
from roost.agent.state import State, Turn


class Clock:
    """Measure the working time of a session's open turn. given: the agent's limits. cut: called when the time is up."""

    def __init__(self, state: State, given: Limits, cut: Callable[[], None]) -> None:
        self._state, self._given, self._cut = state, given, cut
        self._used = 0.0
        self._since: float | None = None
        self._ends: float | None = None
        """End on the monotonic clock; None while the clock is stopped."""
        self._timed = 0
        """Number of the turn that is timed."""
        self._deadline: asyncio.TimerHandle | None = None
        self._limits = given
        self._limited: Turn | None = None
        """The turn that `_limits` are of."""

    @property
    def limits(self) -> Limits:
        """Limits of the open turn: the agent's, tightened by those of its parts."""
        turn = self._state.turn
        if turn is not self._limited:  # the parts of a turn have their limits from its start
            self._limits, self._limited = self._given, turn
            for own in () if turn is None else turn.limits:
                self._limits = tightened(self._limits, own)
        return self._limits

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return self._left() == 0.0 if self._ends is None else time.monotonic() >= self._ends

    def used(self) -> float:
        """Return the working seconds of the open turn."""
        turn = self._state.turn
        if turn is None or turn.number != self._timed:
            return 0.0 if turn is None else turn.seconds
        return self._used + (0.0 if self._since is None else time.monotonic() - self._since)

    def start(self) -> None:
        """Start or resume timing the turn; its earlier time is the sum of its steps in the log. One timer covers all
        steps until `stop`."""
        turn = self._state.turn
        self._used, self._timed = (0.0, 0) if turn is None else (turn.seconds, turn.number)
        self._since = time.monotonic()
        left = self._left()
        self._ends = math.inf if left is None else self._since + left
        if left is not None:
            self._deadline = asyncio.get_running_loop().call_later(left, self._cut)

    def stop(self) -> None:
        self._used, self._since, self._ends = self.used(), None, None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _left(self) -> float | None:
        """Return the seconds left of the turn's limit or the session's, whichever is less; None = no limit. Waiting,
        being paused and the daemon's absence do not count."""
        limit, all = self.limits.seconds, self._given.session_seconds
        if all is not None:
            all = max(0.0, all - self._state.seconds)
            limit = all if limit is None else min(limit, all)
        return None if limit is None else max(0.0, limit - self.used())
