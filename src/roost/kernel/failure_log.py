"""Log a repeating failure once until it recovers."""

from __future__ import annotations

import asyncio
import logging

from roost.errors import RoostError

_GATHER = 0.5
_NAMED = 10


class FailureLog:
    """Log one line when something begins to fail or fails differently, and one when it works again, however often it is
    tried. Log one line for all sessions dropped within half a second."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._failing: dict[str, str] = {}
        self._dropped: dict[str, RoostError] = {}
        self._timer: asyncio.TimerHandle | None = None

    def failed(self, what: str, error: Exception) -> None:
        """Log `error`, unless `what` failed with the same kind of error before."""
        expected = isinstance(error, RoostError)
        kind = error.code if isinstance(error, RoostError) else type(error).__name__
        if self._failing.get(what) != kind:
            self._failing[what] = kind
            self._log.error("%s: %s", what, error, exc_info=None if expected else error)

    def worked(self, what: str) -> None:
        """Log the recovery, if `what` has failed before."""
        if self._failing and self._failing.pop(what, None) is not None:
            self._log.warning("%s: works again", what)

    def dropped(self, session: str, error: RoostError) -> None:
        """Record a session that has another owner, or was deleted."""
        self._dropped[session] = error
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_GATHER, self._say)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._say()

    def _say(self) -> None:
        self._timer = None
        dropped, self._dropped = self._dropped, {}
        if len(dropped) == 1:
            for session, error in dropped.items():
                self._log.warning("session %s: dropped: %s", session, error)
            return
        more = ", …" if len(dropped) > _NAMED else ""
        names = ", ".join(list(dropped)[:_NAMED])
        self._log.warning("%d sessions dropped, which are not this node's any more: %s%s", len(dropped), names, more)
