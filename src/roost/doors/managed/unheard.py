"""Where a stream begins that a client opens after it has sent a message."""

from __future__ import annotations

import time
from collections import OrderedDict

_WAIT_SECONDS, _REMEMBERED = 60.0, 1000


class Unheard:
    """Positions from which a stream begins that is opened after a message was sent. The protocol's own server begins a
    stream at its present end, so that a client which opens it a moment too late waits for ever; here what followed the
    message is still told, if nobody listened then, within a minute and by this process."""

    def __init__(self) -> None:
        self._from: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._listening: dict[str, int] = {}

    def sent(self, session: str, position: int) -> None:
        """Note that what follows a position is an answer to a message."""
        if self._listening.get(session):
            return
        at, before = self._from.get(session, (time.monotonic(), position))
        self._from[session] = (at, min(before, position))
        if len(self._from) > _REMEMBERED:
            self._from.popitem(last=False)

    def listen(self, session: str, head: int) -> int:
        """Return the position from which a new stream begins."""
        self._listening[session] = self._listening.get(session, 0) + 1
        at, position = self._from.pop(session, (0.0, head))
        return position if at > time.monotonic() - _WAIT_SECONDS else head

    def left(self, session: str) -> None:
        left = self._listening.pop(session, 0) - 1
        if left > 0:
            self._listening[session] = left
