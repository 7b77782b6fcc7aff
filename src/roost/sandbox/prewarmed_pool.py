"""Sandboxes that are started before they are needed, so that a session's first command does not wait for one.

A sandbox has its workspace from its start (an ordinary user cannot put a folder into one that runs), so each is started
for a session: when its turn begins, while the model thinks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from roost.errors import SandboxError
from roost.sandbox.backend import Guest

MOST = 16
"""That wait for their first command at the same time; what is more is started when it is needed."""
Start = Callable[[], Awaitable[Guest]]


class Pool:
    """By session. Belongs to one event loop."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._warm: dict[str, asyncio.Task[Guest]] = {}
        self._going: set[asyncio.Task[None]] = set()

    def warm(self, session: str, start: Start) -> None:
        """Begin to start its sandbox, if there is room."""
        if session not in self._warm and len(self._warm) < self._most:
            self._warm[session] = task = asyncio.ensure_future(_started(start))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # told to whoever takes it

    def has(self, session: str) -> bool:
        """Whether one is started for it."""
        return session in self._warm

    async def take(self, session: str, start: Start) -> Guest:
        """The one that was started for it, else a new one. Whoever is cancelled leaves it to the next, or to `drop`.
        Raises `SandboxError`."""
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
        """It is not needed any more. Whoever is cancelled leaves its end to `close`."""
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
