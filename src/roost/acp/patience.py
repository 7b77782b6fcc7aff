"""Wait for a daemon that is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from roost.client.requests import Unreachable

T = TypeVar("T")
PATIENCE = 24 * 3600.0
"""Seconds for which a daemon may be away."""
_PAUSE = 0.5


async def until_reached(call: Callable[[], Awaitable[T]], left: Callable[[], bool] = lambda: False) -> T:
    """Repeat a call, which must be one that may be repeated, until the daemon answers. left: says that nobody waits for
    it any more. Raises `RoostError`."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return await call()
        except Unreachable as error:
            if error.code == "closed" or left() or time.monotonic() > until:
                raise
        await asyncio.sleep(_PAUSE)
