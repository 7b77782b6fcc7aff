"""A node's lease: the time in which its sessions are its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Lease:
    """A lease of `seconds` from the start of the last successful heartbeat, on the monotonic clock: it ends here before
    it ends in the store. `lost` is called on the event loop within one turn of the loop after the end, or when a
    stopped process continues."""

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
        """Seconds left; 0 when it has ended."""
        return max(0.0, self._until - time.monotonic())

    def renewed(self, began: float) -> None:
        """Extend the lease after a heartbeat that began at monotonic time `began`."""
        self._until = max(self._until, began + self._seconds)
        if self._timer is None:
            self._check()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        """Call `lost` if the lease has ended, else set the timer to its end: one timer per lease, not one per
        heartbeat."""
        left = self._until - time.monotonic()
        self._timer = None
        if left > 0:
            self._timer = asyncio.get_running_loop().call_later(left, self._check)
        else:
            self._lost()
