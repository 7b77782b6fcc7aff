"""Run the commands of one session, and end them when its workspace or the machine's disk has no space left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from typing import Any

import msgspec

from roost.errors import SandboxError
from roost.sandbox.backend import Guest, Terminal
from roost.sandbox.base import ExecResult, Quota, with_files_of
from roost.sandbox.host_process import ProcessSandbox
from roost.sandbox.workspace_quota import WorkspaceQuota


class Watched:
    """Runs commands under a workspace quota. `ended` is called with the limit for which a background program was ended.
    While anything runs, a task watches the quota."""

    def __init__(self, room: WorkspaceQuota, ended: Callable[[str], None]) -> None:
        self.room, self._ended = room, ended
        self._ends: dict[object, Callable[[str], None]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._others: set[asyncio.Task[None]] = set()

    async def exec(
        self,
        sandbox: Guest | ProcessSandbox,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        quota: Quota | None = None,
    ) -> ExecResult:
        """Run a command as the contract of `Sandbox` says. `killed_by` and `limits` name an exceeded quota."""
        most = await asyncio.to_thread(self.room.begin, alone=not self._ends)
        if most is not None:
            quota = with_files_of(quota or Quota(), most)
        stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        with self._running(lambda why: None if stop.done() else stop.set_result(why)):
            result = await sandbox.exec(argv, cwd=cwd, env=env, stdin=stdin, quota=quota, stop=stop)
            said = await asyncio.to_thread(self.room.finish)
        if said is None and stop.done():  # the command ended before it could be killed
            said = stop.result()
        if said is None or said in (*result.limits, result.killed_by):
            return result
        return msgspec.structs.replace(result, limits=(*result.limits, said))

    async def spawn(
        self,
        sandbox: Guest | ProcessSandbox,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str] | None = None,
        lossless: bool = False,
    ) -> Terminal:
        most = await asyncio.to_thread(self.room.begin, alone=not self._ends)
        terminal = await sandbox.spawn(argv, cwd=cwd, env=env, file_bytes=most, lossless=lossless)
        self.follow(terminal)
        return terminal

    async def open_terminal(
        self, sandbox: Guest | ProcessSandbox, argv: Sequence[str], *, cwd: str, columns: int, rows: int
    ) -> Terminal:
        most = await asyncio.to_thread(self.room.begin, alone=not self._ends)
        terminal = await sandbox.open_terminal(argv, cwd=cwd, columns=columns, rows=rows, file_bytes=most)
        self.follow(terminal)
        return terminal

    def follow(self, terminal: Terminal) -> None:
        """Watch a background program like a command."""
        self._do(self._until_over(terminal))

    @property
    def watches(self) -> bool:
        return self._watching is not None or bool(self._others)

    async def close(self) -> None:
        """Stop watching. The caller has ended all commands."""
        tasks = [*self._others, *([self._watching] if self._watching is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _until_over(self, terminal: Terminal) -> None:
        def end(why: str) -> None:
            self._ended(why)
            self._do(terminal.close())

        with self._running(end), contextlib.suppress(SandboxError):
            await terminal.wait()
            await asyncio.to_thread(self.room.finish)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    @contextlib.contextmanager
    def _running(self, end: Callable[[str], None]) -> Generator[None]:
        key = object()
        self._ends[key] = end
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name="room of a workspace")
        try:
            yield
        finally:
            del self._ends[key]
            self._rest()

    def _rest(self) -> None:
        if not self._ends and self._watching is not None:
            self._watching.cancel()
            self._watching = None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.room.interval)
            why = await asyncio.to_thread(self.room.look, lambda: not self._ends)
            if why is not None:
                for end in list(self._ends.values()):
                    end(why)
