"""Keep programs of a session running between its calls: background commands, and an interpreter."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, assert_never, runtime_checkable

from roost.errors import SandboxError
from roost.log.events import JobOutcome
from roost.sandbox.backend import Terminal
from roost.sandbox.output import HeadTail
from roost.tools.base import ToolContext
from roost.tools.errors import ToolError

MOST = 8
"""Most running jobs of a session; also the number of ended jobs whose output can still be read."""
SECONDS = 3600
LONGEST = 86_400
_UNREAD = 32 * 1024
_CLOSING = 7.0
"""Seconds to wait for a job's end; a terminal in a guest gives up after 5."""
_MORE = 0.05
"""Seconds to wait after the first new output for more of it."""


@runtime_checkable
class Spawner(Protocol):
    """The part of `roost.sandbox.backend.Guest` that jobs need."""

    async def spawn(self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str] | None = None) -> Terminal: ...


class Kept(Protocol):
    """Something to close when the session sleeps. `name`: for people. `running`: whether `close` interrupts work."""

    @property
    def name(self) -> str: ...

    @property
    def running(self) -> bool: ...

    async def close(self) -> None: ...


class Ending(NamedTuple):
    """How a job ended; the fields of `roost.log.JobEnded`."""

    outcome: JobOutcome
    code: int | None = None
    reason: str | None = None

    def said(self, after: str = "") -> str:
        """Describe the end for the agent. `after`: words for how long the job ran."""
        why = f": {self.reason}" if self.reason else ""
        match self.outcome:
            case "exited":
                code = self.code or 0
                return f"has ended: {f'exit code {code}' if code >= 0 else f'killed by signal {-code}'}{after}"
            case "timeout":
                return f"was ended{after}: its time was over"
            case "stopped":
                return f"was stopped{after}{why}"
            case "lost":
                return f"has ended{after}{why}"
            case _:
                assert_never(self.outcome)


class Job:
    """A background command. Its output is read continuously and kept until a call reads it; of much only head and tail.

    `due`: wall time at which the job is ended. `call`: id of the call that started it. `known`: its start is committed
    to the log. `told`: ids of the calls that reported its end. `asked`: ids of the calls that read output. `outside`:
    source of taint, if any. `over`: called when it has ended."""

    def __init__(
        self,
        name: str,
        terminal: Terminal,
        *,
        due: float,
        over: Callable[[], None],
        call: str = "",
        known: bool = False,
        outside: str | None = None,
    ) -> None:
        self.name = name
        self.terminal = terminal
        self.due = due
        self.call = call
        self.known = known
        self.outside = outside
        self.began = self.ended = time.time()
        self.told: set[str] = set()
        self.asked: set[str] = set()
        self.cut: JobOutcome | None = None
        self._code: int | None = None
        self._lost: str | None = None
        self._unread = HeadTail(_UNREAD)
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read(terminal.read()))
        self._closing: asyncio.Task[None] | None = None
        left = max(0.0, due - self.began)
        self._limit = asyncio.get_running_loop().call_later(left, self._out_of_time)
        self._reading.add_done_callback(lambda _: self._limit.cancel())
        self._reading.add_done_callback(lambda _: over())

    @property
    def running(self) -> bool:
        return not self._reading.done()

    @property
    def ending(self) -> Ending:
        """How the job ended. Only valid once it has."""
        if self.cut is not None:
            return Ending(self.cut, self._code)
        return Ending("exited", self._code) if self._code is not None else Ending("lost", reason=self._lost)

    @property
    def unread(self) -> str:
        """Output since the last read."""
        return self._unread.text()

    async def output(self, wait: float) -> str:
        """Return the output since the last read; waits at most `wait` seconds when there is none."""
        if not self._unread.total and self.running and wait > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), wait)
                await asyncio.sleep(_MORE)
        unread, self._unread = self._unread, HeadTail(_UNREAD)
        self._news.clear()
        return unread.text()

    async def stop(self) -> None:
        """End the job and record it as stopped, unless it has ended already."""
        if self.running and self.cut is None:
            self.cut = "stopped"
        await self.close()

    async def close(self) -> None:
        """End the job. One that has not ended after `_CLOSING` seconds is lost, and its output is ignored."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING):
                with contextlib.suppress(SandboxError):  # the reader task records it
                    await self.terminal.close()
                await asyncio.wait([self._reading])
        if self.running:
            self.cut, self._lost = None, "its sandbox did not answer when it was to end"
            self._reading.cancel()
            await asyncio.wait([self._reading])

    def _out_of_time(self) -> None:
        if self.running and self.cut is None:
            self.cut = "timeout"
            self._closing = asyncio.create_task(self.close())

    async def _read(self, pieces: AsyncIterator[bytes]) -> None:
        try:
            async for piece in pieces:
                self._unread.add(piece)
                self._news.set()
            self._code = await self.terminal.wait()
        except SandboxError as error:  # it ended with its sandbox
            self._lost = f"with its sandbox: {error}"
        finally:
            self.ended = time.time()
            self._news.set()


class Jobs:
    """The jobs of one session while it is awake. `over` is called when a job has ended."""

    def __init__(self, over: Callable[[], None] = lambda: None) -> None:
        self.kept: dict[str, Kept] = {}
        self.over = over

    async def start(
        self, sandbox: object, argv: Sequence[str], *, cwd: str, name: str, call: str, seconds: float
    ) -> str:
        """Start a job and return its id. Raises `ToolError`, `SandboxError`."""
        running = [key for key, one in self.all().items() if one.running]
        if len(running) >= MOST:
            raise ToolError(f"{MOST} jobs are running, which is the most; stop one first: {', '.join(running)}")
        terminal = await spawner(sandbox).spawn(argv, cwd=cwd)
        key = f"job-{secrets.token_hex(4)}"
        self.kept[key] = Job(name, terminal, due=time.time() + seconds, over=self.over, call=call)
        return key

    def take_up(self, key: str, name: str, terminal: Terminal, due: float, outside: str | None) -> None:
        """Resume a job that the log knows and that slept with the session."""
        self.kept[key] = Job(name, terminal, due=due, over=self.over, known=True, outside=outside)

    def all(self) -> dict[str, Job]:
        return {key: one for key, one in self.kept.items() if isinstance(one, Job)}

    @property
    def running(self) -> bool:
        return any(one.running for one in self.all().values())

    def job(self, key: str) -> Job:
        jobs = self.all()
        if key in jobs:
            return jobs[key]
        there = f"the jobs are: {', '.join(jobs)}" if jobs else "there is none"
        raise ToolError(f"there is no job {key!r}; {there}. One of earlier has ended")

    def forget(self) -> None:
        """Drop the ended jobs, except the newest `MOST`."""
        over = [key for key, one in self.all().items() if not one.running]
        for key in over[:-MOST]:
            del self.kept[key]

    async def close(self) -> list[str]:
        """End everything. Returns the names of those that were running."""
        if not self.kept:
            return []
        kept, self.kept = list(self.kept.values()), {}
        running = [one.name for one in kept if one.running]
        await asyncio.gather(*(one.close() for one in kept), return_exceptions=True)
        return running


def spawner(sandbox: object) -> Spawner:
    if not isinstance(sandbox, Spawner):
        raise ToolError("this sandbox runs nothing in the background; use shell")
    return sandbox


def jobs_of(context: ToolContext) -> Jobs:
    return context.port(Jobs, "nothing can be kept running between calls here; use shell")
