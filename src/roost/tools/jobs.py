"""What a session keeps running between its calls: commands in the background, an interpreter. Its sleep ends them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from roost.errors import SandboxError
from roost.sandbox.backend import Terminal
from roost.sandbox.output import HeadTail
from roost.tools.base import ToolError

MOST = 8
"""Jobs of a session at once."""
_UNREAD = 32 * 1024
_MORE = 0.05
"""Seconds in which what comes with the first new output is waited for."""


@runtime_checkable
class Spawner(Protocol):
    """The part of a sandbox that jobs need, as of `roost.sandbox.backend.Guest`."""

    async def spawn(self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str] | None = None) -> Terminal: ...


class Kept(Protocol):
    """What is closed when the session sleeps. `name` is for people, `running` whether closing it ends something."""

    @property
    def name(self) -> str: ...

    @property
    def running(self) -> bool: ...

    async def close(self) -> None: ...


class Job:
    """A command in the background. Its output is read all the time, and what nobody asked for yet is kept, but of much
    only head and tail."""

    def __init__(self, name: str, terminal: Terminal) -> None:
        self.name = name
        self.code: int | None = None
        self.terminal = terminal
        self._unread = HeadTail(_UNREAD)
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read(terminal.read()))

    @property
    def running(self) -> bool:
        return not self._reading.done()

    async def output(self, wait: float) -> str:
        """What came since the last time; with nothing new, after at most `wait` seconds."""
        if not self._unread.total and self.running and wait > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), wait)
                await asyncio.sleep(_MORE)
        unread, self._unread = self._unread, HeadTail(_UNREAD)
        self._news.clear()
        return unread.text()

    async def close(self) -> None:
        await self.terminal.close()
        await asyncio.wait([self._reading])

    async def _read(self, pieces: AsyncIterator[bytes]) -> None:
        try:
            async for piece in pieces:
                self._unread.add(piece)
                self._news.set()
            self.code = await self.terminal.wait()
        except SandboxError as error:  # it ended with its sandbox
            self._unread.add(f"\n[{error}]\n".encode())
        finally:
            self._news.set()


class Jobs:
    """Of one session while it is awake."""

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}

    async def start(self, sandbox: object, argv: Sequence[str], *, cwd: str, name: str) -> str:
        """The id of a new job. Raises `ToolError`, `SandboxError`."""
        running = [key for key, one in self.kept.items() if isinstance(one, Job) and one.running]
        if len(running) >= MOST:
            raise ToolError(f"{MOST} jobs are running, which is the most; stop one first: {', '.join(running)}")
        terminal = await spawner(sandbox).spawn(argv, cwd=cwd)
        key = f"job-{secrets.token_hex(3)}"
        self.kept[key] = Job(name, terminal)
        return key

    def job(self, key: str) -> Job:
        found = self.kept.get(key)
        if isinstance(found, Job):
            return found
        known = [name for name, one in self.kept.items() if isinstance(one, Job)]
        there = f"the jobs are: {', '.join(known)}" if known else "there is none"
        raise ToolError(f"there is no job {key!r}; {there}. Jobs end when the session has nothing to do and sleeps")

    async def close(self) -> list[str]:
        """End everything. Returns the names of what was running."""
        kept, self.kept = list(self.kept.values()), {}
        running = [one.name for one in kept if one.running]
        await asyncio.gather(*(one.close() for one in kept), return_exceptions=True)
        return running


def spawner(sandbox: object) -> Spawner:
    if not isinstance(sandbox, Spawner):
        raise ToolError("this sandbox runs nothing in the background; use shell")
    return sandbox


def jobs_of(jobs: Jobs | None) -> Jobs:
    if jobs is None:
        raise ToolError("nothing can be kept running between calls here; use shell")
    return jobs
