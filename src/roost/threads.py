"""Run blocking work in a thread, and never abandon it halfway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def finished_in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread and return its result; raises its errors. When cancelled, wait for it first, so that its
    changes are complete. For work that takes milliseconds."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await settled(task)
        raise


async def settled(waiter: asyncio.Future[Any]) -> None:
    """Wait until `waiter` is done, even if this task is cancelled again meanwhile."""
    while not waiter.done():
        try:
            await asyncio.wait([waiter])
        except asyncio.CancelledError:
            continue
    if not waiter.cancelled():
        waiter.exception()
