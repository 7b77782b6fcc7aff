"""Level 0: a command is a process group of this machine with limits. It is no isolation boundary.

A command runs as the daemon's user and can read what that user can read; where the daemon is root, as the workspace's
user (`as_user`). Level 0 enforces limits on time, memory and output, a clean environment, and that no process outlives
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

import msgspec

from roost.errors import SandboxError
from roost.sandbox.as_user import words_as
from roost.sandbox.background import Background
from roost.sandbox.base import ExecResult, Quota, User, with_files_of
from roost.sandbox.command import Command
from roost.sandbox.host_terminal import HostTerminal
from roost.sandbox.pseudo_terminal import PseudoTerminal
from roost.sandbox.watchdog import machine_memory
from roost.threads import settled

_ENDLESS = Quota(cpu_seconds=None, wall_seconds=7 * 86400.0)
"""The longest wait that the system supports."""


class ProcessSandbox:
    """Runs commands at level 0. `marker` names the daemon's home: `reap_orphans(marker)` finds what a crash left.

    Each command has a thread while it runs and costs about 4 ms; between commands nothing is held.
    """

    def __init__(self, *, marker: str, memory_bytes: int | None = None) -> None:
        """`memory_bytes`: of one command with all its processes; by default three quarters of the machine's."""
        self._marker = marker
        self._memory = machine_memory()[0] * 3 // 4 or None if memory_bytes is None else memory_bytes
        self._running: dict[Command, Future[ExecResult]] = {}
        self._closed = threading.Event()
        self._user: tuple[User, Path] | None = None
        self._endless = _ENDLESS

    @property
    def level(self) -> int:
        return 0

    def as_user(self, user: User, workspace: Path) -> ProcessSandbox:
        """Return a view of this sandbox that runs commands as `user`, the owner of the workspace. The daemon must be
        root. Closing this sandbox also ends the commands of the view."""
        made = copy(self)
        made._user = user, workspace
        return made

    def with_address_space(self, size: int | None) -> ProcessSandbox:
        """Return a view of this sandbox whose background commands have `size` bytes of address space a process."""
        made = copy(self)
        made._endless = msgspec.structs.replace(_ENDLESS, memory_bytes=size)
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
        """Run a command as the contract and `roost.sandbox.backend.Guest` say. HOME is `cwd`. A command that cannot be
        started has exit code 126 or 127 and says why on stderr. Cancelling allows half a second between SIGTERM and
        SIGKILL."""
        if self._closed.is_set():
            raise SandboxError("this sandbox is closed; make a new one")
        if not argv:
            raise SandboxError("exec needs at least the name of a program in `argv`")
        command = Command(
            argv, cwd, env, stdin, quota or Quota(), self._marker, memory=self._memory, before=self._before(cwd)
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
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str] | None = None,
        file_bytes: int | None = None,
        lossless: bool = False,
    ) -> Background:
        """Start a background command, as `roost.sandbox.backend.Guest.spawn` says; it holds a thread. A command that
        cannot be started outputs why, and ends. It ends with its `close` and with the sandbox."""
        if self._closed.is_set():
            raise SandboxError("this sandbox is closed; make a new one")
        if not argv:
            raise SandboxError("spawn needs at least the name of a program in `argv`")
        theirs, ours = os.pipe()
        background = Background(ours, lossless=lossless)
        try:
            limits = with_files_of(self._endless, file_bytes)
            before = self._before(cwd)
            command = Command(argv, cwd, env, theirs, limits, self._marker, background.heard, self._memory, before)
            done = self._start(command)
        except BaseException:
            os.close(theirs)
            os.close(ours)
            raise
        await background.follow(command, done)
        return background

    async def open_terminal(
        self, argv: Sequence[str], *, cwd: str, columns: int = 80, rows: int = 24, file_bytes: int | None = None
    ) -> HostTerminal:
        """Start a program on a terminal, as `spawn` starts a command."""
        if self._closed.is_set():
            raise SandboxError("this sandbox is closed; make a new one")
        if not argv:
            raise SandboxError("a terminal needs at least the name of a program in `argv`")
        before = self._before(cwd)
        try:
            pty = PseudoTerminal(columns, rows, None if self._user is None else self._user[0])
        except OSError as error:
            raise SandboxError(f"this machine opens no more terminals: {error}") from error
        terminal = HostTerminal(pty)
        try:
            limits, env = with_files_of(self._endless, file_bytes), {"TERM": "xterm-256color"}
            command = Command(argv, cwd, env, None, limits, self._marker, terminal.heard, self._memory, before, pty=pty)
            terminal.run(command, self._start(command))
        except BaseException:
            pty.close()
            raise
        return terminal

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
