"""Start sandboxes before they are needed, so that a session's first command does not wait for one.

A sandbox gets its workspace at its start (an ordinary user cannot mount a folder into one that runs), so each is
started for one session: when its turn begins, while the model thinks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from roost.errors import SandboxError
from roost.sandbox.backend import Guest

MOST = 16
"""Prewarmed sandboxes at the same time; further ones are started when they are needed."""
Start = Callable[[], Awaitable[Guest]]


class Pool:
    """Prewarmed sandboxes by session. Belongs to one event loop."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._warm: dict[str, asyncio.Task[Guest]] = {}
        self._going: set[asyncio.Task[None]] = set()

    def warm(self, session: str, start: Start) -> None:
        """Begin to start the session's sandbox, unless the pool is full."""
        if session not in self._warm and len(self._warm) < self._most:
            self._warm[session] = task = asyncio.ensure_future(_started(start))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # `take` reports the error

    def has(self, session: str) -> bool:
        """True when one was started for the session."""
        return session in self._warm

    async def take(self, session: str, start: Start) -> Guest:
        """Return the session's prewarmed sandbox, else a new one. On cancellation it stays for the next `take` or
        `drop`. Raises `SandboxError`."""
        task = self._warm.pop(session, None)
        if task is None or (task.done() and task.exception() is not None):
            task = asyncio.ensure_future(_started(start))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                self._warm[session] = task
            raise

    async def drop(self, session: str) -> None:
        """End the session's unused sandbox. On cancellation `close` waits for its end."""
        task = self._warm.pop(session, None)
        if task is not None:
            going = asyncio.ensure_future(_ended(task))
            self._going.add(going)
            going.add_done_callback(self._going.discard)
            await asyncio.shield(going)

    async def close(self) -> None:
        for session in list(self._warm):
            await self.drop(session)
        await asyncio.gather(*self._going)


async def _started(start: Start) -> Guest:
    return await start()


async def _ended(task: asyncio.Task[Guest]) -> None:
    with contextlib.suppress(SandboxError):
        await (await task).close()
