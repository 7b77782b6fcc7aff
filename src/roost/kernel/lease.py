"""For how long a node may believe that its sessions are its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Lease:
    """Runs for `seconds` from the beginning of the last beat that succeeded, on the monotonic clock, and so ends here
    before it ends in the store. `lost` is called on the event loop when it has ended: within a turn of the loop, or
    when a process that was stopped goes on."""

    def __init__(self, seconds: float, lost: Callable[[], None]) -> None:
        self._seconds = seconds
        self._lost = lost
        self._until = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    @property
    def held(self) -> bool:
        return time.monotonic() < self._until

    @property
    def left(self) -> float:
        """Seconds, 0 when it has ended."""
        return max(0.0, self._until - time.monotonic())

    def renewed(self, began: float) -> None:
        """A beat succeeded that began at monotonic time `began`."""
        self._until = max(self._until, began + self._seconds)
        if self._timer is None:
            self._check()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        """The timer runs from end to end of the lease, not from beat to beat."""
        left = self._until - time.monotonic()
        self._timer = None
        if left > 0:
            self._timer = asyncio.get_running_loop().call_later(left, self._check)
        else:
            self._lost()
