"""Level 0: a command is a process group of this machine with limits. It tidies up after itself; it is no wall.

A command runs as the daemon's user and can read what that user can read; where the daemon is root, as the workspace's
user (`as_user`). What level 0 holds: limits on time, memory and output, a clean environment, and that nothing outlives
the call.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from copy import copy
from pathlib import Path

from roost.errors import SandboxError
from roost.sandbox.as_user import words_as
from roost.sandbox.background import Background
from roost.sandbox.base import ExecResult, Quota, User, with_files_of
from roost.sandbox.command import Command
from roost.sandbox.watchdog import machine_memory
from roost.threads import settled

_ENDLESS = Quota(cpu_seconds=None, wall_seconds=7 * 86400.0)
"""As long as a wait of the system can be."""


class ProcessSandbox:
    """`marker` names the daemon's home: `reap_orphans(marker)` finds what a crashed daemon left running.

    Each command has a thread while it runs and costs about 4 ms; between commands there is nothing.
    """

    def __init__(self, *, marker: str, quota: Quota | None = None, memory_bytes: int | None = None) -> None:
        """`memory_bytes`: of one command with all its processes, by default three quarters of the machine's."""
        self._marker = marker
        self._memory = machine_memory()[0] * 3 // 4 or None if memory_bytes is None else memory_bytes
        self._quota = quota or Quota()
        self._running: dict[Command, Future[ExecResult]] = {}
        self._closed = threading.Event()
        self._user: tuple[User, Path] | None = None

    @property
    def level(self) -> int:
        return 0

    def as_user(self, user: User, workspace: Path) -> ProcessSandbox:
        """Return a view of this sandbox whose commands run as `user`, to whom the workspace belongs. The daemon must be
        root. What runs there ends with this sandbox."""
        made = copy(self)
        made._user = user, workspace
        return made

    async def exec(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        quota: Quota | None = None,
        stop: asyncio.Future[str] | None = None,
    ) -> ExecResult:
        """As the contract says, and of `roost.sandbox.backend.Guest`. HOME is `cwd`. A command that cannot be started
        has exit code 126 or 127 and says why on stderr. Cancelling gives it half a second between SIGTERM and
        SIGKILL."""
        if self._closed.is_set():
            raise SandboxError("this sandbox is closed; make a new one")
        if not argv:
            raise SandboxError("exec needs at least the name of a program in `argv`")
        command = Command(
            argv, cwd, env, stdin, quota or self._quota, self._marker, memory=self._memory, before=self._before(cwd)
        )
        done = self._start(command)
        if stop is not None:
            stop.add_done_callback(lambda said: None if said.cancelled() else command.cancel(said.result()))
        waiter = asyncio.wrap_future(done)
        try:
            return await asyncio.shield(waiter)
        except asyncio.CancelledError:
            command.cancel()
            await settled(waiter)
            raise

    async def spawn(
        self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str] | None = None, file_bytes: int | None = None
    ) -> Background:
        """A command that runs on between others, as of `roost.sandbox.backend.Guest`; it costs a thread as long. One
        that cannot be started says why and ends. It ends with `close`, and with the sandbox."""
        if self._closed.is_set():
            raise SandboxError("this sandbox is closed; make a new one")
        if not argv:
            raise SandboxError("spawn needs at least the name of a program in `argv`")
        theirs, ours = os.pipe()
        background = Background(ours)
        try:
            limits = with_files_of(_ENDLESS, file_bytes)
            before = self._before(cwd)
            command = Command(argv, cwd, env, theirs, limits, self._marker, background.heard, self._memory, before)
            done = self._start(command)
        except BaseException:
            os.close(theirs)
            os.close(ours)
            raise
        await background.follow(command, done)
        return background

    async def close(self) -> None:
        """End every running command; their callers get a result with `killed_by="cancelled"`."""
        self._closed.set()
        running = dict(self._running)
        for command in running:
            command.cancel()
        for done in running.values():
            await settled(asyncio.wrap_future(done))

    def _before(self, cwd: str) -> list[str]:
        return [] if self._user is None else words_as(*self._user, cwd)

    def _start(self, command: Command) -> Future[ExecResult]:
        done: Future[ExecResult] = Future()
        done.set_running_or_notify_cancel()

        def work() -> None:
            try:
                result = command.run()
            except BaseException as error:  # crosses to the awaiting task, which raises it
                self._running.pop(command, None)
                done.set_exception(error)
            else:
                self._running.pop(command, None)
                done.set_result(result)

        self._running[command] = done
        try:
            threading.Thread(target=work, name="roost-exec", daemon=True).start()
        except RuntimeError as error:
            del self._running[command]
            raise SandboxError(f"cannot start a thread for the command: {error}") from error
        return done
