"""A sandbox with an agent inside, of any kind: a process in namespaces, a container, a machine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from roost.errors import SandboxError
from roost.sandbox.backend import Capabilities, Suspends, Usage
from roost.sandbox.base import ExecResult, Quota, with_files_of
from roost.sandbox.guest.command import Running, command, environment
from roost.sandbox.guest.link import Command, Link
from roost.sandbox.guest.terminal import GuestTerminal, Kept

_KILLED = (-9, 137)


class Body(Protocol):
    """The host side of a guest. `hits` does not block; `end` ends everything at once and is idempotent."""

    def hits(self) -> Mapping[str, int]: ...

    async def usage(self) -> Usage: ...

    async def end(self) -> None: ...


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """How commands are run. `quota`: the default. `environment`: added to that of each command."""

    quota: Quota = Quota()
    environment: Mapping[str, str] = {}


class LinkedGuest:
    """A `roost.sandbox.backend.Guest` over a link whose `hello` has come."""

    def __init__(self, level: int, capabilities: Capabilities, link: Link, body: Body, manner: Manner) -> None:
        self._level, self._capabilities = level, capabilities
        self._link, self._body, self._manner = link, body, manner
        self._running: set[Running] = set()
        self._terminals: set[GuestTerminal] = set()
        self._closed = False

    @property
    def level(self) -> int:
        return self._level

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def alive(self) -> bool:
        return not self._closed and not self._link.lost.done()

    @property
    def background(self) -> int:
        """Number of programs that run between commands."""
        return sum(terminal.running for terminal in self._terminals)

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
        """Run a command as the contract says. HOME is `cwd`. `limits` names the sandbox's limits hit meanwhile."""
        quota = quota or self._manner.quota
        running = Running(self._link, self._command(argv, cwd, env, quota), stdin, quota)
        self._running.add(running)
        if stop is not None:
            stop.add_done_callback(lambda said: None if said.cancelled() else running.cancel(said.result()))
        before = dict(self._body.hits())
        try:
            result = await running.result()
        except SandboxError:
            if "memory_bytes" not in self._new_hits(before):
                raise
            result = ExecResult(exit_code=-9, stdout="", stderr="", seconds=running.seconds)
        finally:
            self._running.discard(running)
        return _with_hits(result, self._new_hits(before))

    async def open_terminal(
        self, argv: Sequence[str], *, cwd: str, columns: int = 80, rows: int = 24, file_bytes: int | None = None
    ) -> GuestTerminal:
        made = self._command(argv, cwd, {"TERM": "xterm-256color"}, self._endless(file_bytes))
        made.terminal = (columns, rows)
        return self._keep(made)

    async def spawn(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str] | None = None,
        file_bytes: int | None = None,
        lossless: bool = False,
    ) -> GuestTerminal:
        """Start a background command. `read` yields its two outputs as one stream."""
        made = self._command(argv, cwd, env, self._endless(file_bytes))
        made.merge = True
        return self._keep(made, lossless=lossless)

    @property
    def terminals(self) -> dict[int, GuestTerminal]:
        """The programs that run between commands, by number. They survive a suspension."""
        return {each.number: each for each in self._terminals if each.running}

    def take_up(self, kept: Sequence[Kept]) -> None:
        for each in kept:
            self._terminals.add(GuestTerminal(self._link, each))

    async def suspend(self, image: Path) -> Suspends:
        await self.close()
        return "none"

    async def usage(self) -> Usage:
        return await self._body.usage()

    async def close(self) -> None:
        """End every running command; their callers get a result with `killed_by="cancelled"`."""
        try:
            await self._finish_running()
        finally:
            self._link.close()
            await self._body.end()

    async def _finish_running(self) -> None:
        self._closed = True
        for running in list(self._running):
            running.cancel()
        for running in list(self._running):
            await running.over.wait()

    def _command(self, argv: Sequence[str], cwd: str, env: Mapping[str, str] | None, quota: Quota) -> Command:
        if self._closed:
            raise SandboxError("this sandbox is closed; make a new one")
        if not argv:
            raise SandboxError("exec needs at least the name of a program in `argv`")
        given = environment(cwd, self._manner.environment, env)
        return command(argv, cwd, given, quota)

    def _endless(self, file_bytes: int | None) -> Quota:
        endless = msgspec.structs.replace(_ENDLESS, memory_bytes=self._manner.quota.memory_bytes)
        return with_files_of(endless, file_bytes)

    def _keep(self, made: Command, *, lossless: bool = False) -> GuestTerminal:
        try:
            terminal = GuestTerminal(self._link, made, lossless=lossless)
        except ValueError as error:
            raise SandboxError(f"the command cannot be started: {error}") from error
        self._terminals = {each for each in self._terminals if each.running} | {terminal}
        return terminal

    def _new_hits(self, before: Mapping[str, int]) -> list[str]:
        return sorted(name for name, count in self._body.hits().items() if count > before.get(name, 0))


_ENDLESS = Quota(cpu_seconds=None, wall_seconds=float("inf"))


def _with_hits(result: ExecResult, hits: Sequence[str]) -> ExecResult:
    if not hits:
        return result
    killed = "memory_bytes" if "memory_bytes" in hits and result.exit_code in _KILLED else result.killed_by
    code = None if killed else result.exit_code
    return msgspec.structs.replace(result, limits=tuple(hits), killed_by=killed, exit_code=code)
