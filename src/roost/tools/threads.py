"""Blocking work of a tool, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def finished_in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread. When cancelled, wait for it first: what it changes is then changed, or never will be.
    For work that takes milliseconds."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                continue
        if not task.cancelled():
            task.exception()
        raise
