"""Blocking work off the event loop, that nobody leaves half done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def finished_in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread; raises what it raises. When cancelled, wait for it first: what it changes is then
    changed, or never will be. For work that takes milliseconds."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await settled(task)
        raise


async def settled(waiter: asyncio.Future[Any]) -> None:
    """Wait until `waiter` is done, even if this task is cancelled again meanwhile; the first cancel is enough."""
    while not waiter.done():
        try:
            await asyncio.wait([waiter])
        except asyncio.CancelledError:
            continue
    if not waiter.cancelled():
        waiter.exception()
