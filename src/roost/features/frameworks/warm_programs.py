"""Programs that have imported their framework and wait for the next run of their session.

A program stays in the sandbox of the one session that started it, and has no key: each run gets one of its own. So
nothing passes from one session to another. The programs of a node are bounded in number, in time, and by the memory
that the machine has left; they end with their session's sandbox and with the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from roost.features.frameworks.child import Child
from roost.sandbox.watchdog import machine_memory

MOST = 8
"""Programs of a node that wait at the same time. One more ends the one that waits longest."""
SECONDS = 60.0
"""How long a program waits."""
_FULL = 0.85
"""Share of the machine's memory that is in use, above which no program waits."""


class WarmPrograms:
    """The waiting programs of a node."""

    def __init__(self, most: int = MOST, seconds: float = SECONDS) -> None:
        self.most, self.seconds = most, seconds
        self._waiting: dict[Warm, None] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def keep(self, child: Child, environment: str, ended: Callable[[], None]) -> Warm:
        """Let a program wait. environment: its id. ended: called when it waits no longer and was not taken."""
        kept = Warm(self, child, environment, ended)
        self._waiting[kept] = None
        total, used = machine_memory()
        if used > _FULL * total:
            kept.end()
        elif len(self._waiting) > self.most:
            next(iter(self._waiting)).end()
        return kept

    def forget(self, one: Warm) -> bool:
        """Take a program off the list. Returns whether it was on it."""
        return self._waiting.pop(one, self) is None

    def close(self, child: Child) -> None:
        task = asyncio.create_task(child.close())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    @property
    def count(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def end_all(self) -> None:
        for one in list(self._waiting):
            one.end()

    async def stop(self) -> None:
        """End all programs, and wait for their ends."""
        self.end_all()
        await asyncio.gather(*self._ending, return_exceptions=True)


class Warm:
    """A program that waits for the next run."""

    def __init__(self, owner: WarmPrograms, child: Child, environment: str, ended: Callable[[], None]) -> None:
        self._owner, self._child, self._environment, self._ended = owner, child, environment, ended
        self._timer = asyncio.get_running_loop().call_later(owner.seconds, self.end)
        self.waits = True

    def take(self, environment: str) -> Child | None:
        """Return the program for a run in this environment. Any other program is ended."""
        if not self._leave():
            return None
        if self._environment == environment and self._child.rests:
            return self._child
        self._owner.close(self._child)
        return None

    def end(self) -> None:
        """End the program."""
        if self._leave():
            self._owner.close(self._child)
            self._ended()

    def _leave(self) -> bool:
        self._timer.cancel()
        self.waits = False
        return self._owner.forget(self)
