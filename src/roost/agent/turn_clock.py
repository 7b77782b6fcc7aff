"""The time of a turn."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from roost.agent.definition import Limits, tightened
from roost.agent.state import State


class Clock:
    """Of one session, whose agent has `given` as limits: how long its open turn has worked. `cut` is called when the
    turn's time is up."""

    def __init__(self, state: State, given: Limits, cut: Callable[[], None]) -> None:
        self._state, self._given, self._cut = state, given, cut
        self._used = 0.0
        self._since: float | None = None
        self._ends: float | None = None
        """On the monotonic clock; None while nothing runs down."""
        self._timed = 0
        """The turn that these are of."""
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def limits(self) -> Limits:
        """Of the open turn: the agent's, or tighter ones of the schedule that began it."""
        turn = self._state.turn
        firing = None if turn is None else turn.firing
        return self._given if firing is None else tightened(self._given, firing.limits)

    @property
    def late(self) -> bool:
        """Whether nothing is left of the time."""
        return self._left() == 0.0 if self._ends is None else time.monotonic() >= self._ends

    def used(self) -> float:
        """Seconds that the open turn has worked."""
        turn = self._state.turn
        if turn is None or turn.number != self._timed:
            return 0.0 if turn is None else turn.seconds
        return self._used + (0.0 if self._since is None else time.monotonic() - self._since)

    def start(self) -> None:
        """The turn begins or goes on; what it used before is the sum of its steps in the log. One timer serves all its
        steps, until `stop`."""
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
        """Of the turn's time, or the session's if that is less. Neither waiting, nor being paused, nor the daemon's
        absence counts."""
        limit, all = self.limits.seconds, self._given.session_seconds
        if all is not None:
            all = max(0.0, all - self._state.seconds)
            limit = all if limit is None else min(limit, all)
        return None if limit is None else max(0.0, limit - self.used())
