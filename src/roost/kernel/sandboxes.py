"""The sandboxes of a node's sessions: created at a session's first command, closed when it sleeps."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Container, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from roost.agent.session import Session
from roost.errors import Invalid, SandboxError
from roost.kernel.hibernation import lay_down, resume_guest
from roost.log import events as ev
from roost.sandbox.backend import Backend, Capabilities, Guest, Network, SandboxSpec, Suspends, Terminal, Usage
from roost.sandbox.base import ExecResult, Quota
from roost.sandbox.choose import Choice, Chooser, Isolation
from roost.sandbox.disk_reserve import DiskReserve
from roost.sandbox.guest.linked_guest import LinkedGuest
from roost.sandbox.host_process import ProcessSandbox
from roost.sandbox.isolation_notes import full, remark
from roost.sandbox.prewarmed_pool import Pool
from roost.sandbox.probe_cache import ProbeCache
from roost.sandbox.quota_watch import Watched
from roost.sandbox.workspace_quota import WorkspaceQuota
from roost.tools.base import Tool
from roost.workspace.files import Workspace
from roost.workspace.owners import Owners

log = logging.getLogger("roost.sandbox")


class Sandboxes:
    """The sandboxes of one node.

    process: level 0, shared by all sessions.
    marker: names the node, for `reap`.
    kept: cached probe results of the backends.
    floor: the disk space that commands must leave free.
    owners: the users of the workspaces, when the daemon is root.
    """

    def __init__(
        self,
        process: ProcessSandbox,
        backends: Iterable[Backend],
        *,
        marker: str,
        kept: ProbeCache | None = None,
        floor: DiskReserve | None = None,
        owners: Owners | None = None,
    ) -> None:
        self.process = process
        self.chooser = Chooser(backends, kept=kept, user=None if owners is None else owners.trial)
        self.owners = owners
        self.marker = marker
        self._floor = floor
        self.pool = Pool()
        self._open: dict[SessionSandbox, tuple[Path, WorkspaceQuota]] = {}
        self._rooms: dict[Path, list[WorkspaceQuota]] = {}
        """By workspace: a child shares its parent's, and every write there counts for all."""
        self._going: set[asyncio.Task[None]] = set()
        self._told: set[str] = set()

    @property
    def level(self) -> int:
        """Highest isolation level that is known to work on this node."""
        return self.chooser.level

    def of(
        self,
        session: str,
        isolation: Isolation,
        place: Callable[[], SandboxSpec],
        notes: Path,
        files: Workspace,
        *,
        private: bool,
    ) -> SessionSandbox:
        """Return the sandbox of a session. Nothing is started yet.

        place: returns the sandbox's spec; it may create the workspace, and block shortly.
        notes: the folder for a suspended sandbox.
        files: the workspace, with the quota of a `private` one or of a user's folder.
        """
        room = WorkspaceQuota(lambda: files.place, isolation.bounds.workspace(private=private), self._floor)
        made = SessionSandbox(self, session, isolation, place, notes, room)
        same = self._rooms.setdefault(files.place, [])
        same.append(room)
        files.room = _asked_of(room, same)
        self._open[made] = files.place, room
        return made

    async def choose(self, isolation: Isolation) -> Choice:
        """Choose the backend for an isolation level. Raises `IsolationUnavailable`."""
        choice = await self.chooser.choose(isolation)
        if choice.why is not None and choice.why not in self._told:
            self._told.add(choice.why)
            log.warning("commands run at isolation level %d, not %d: %s", choice.level, isolation.wanted, choice.why)
        return choice

    async def demand(self, isolation: Isolation, offered: Container[str]) -> None:
        """Raise `IsolationUnavailable` when no known node offers the level that an agent requires."""
        if isolation.required and f"sandbox:{isolation.required}" not in offered:
            await self.choose(isolation)

    async def prepare(self, live: Session) -> None:
        """Choose a woken session's backend before the permission gate asks for it, and start the sandbox if the session
        may run commands."""
        sandbox = live.means.sandbox
        if isinstance(sandbox, SessionSandbox):
            sandbox.tell, sandbox.remark = live.log.note, live.hints.add
            files = live.means.files
            files_are_there = files is None or (files.there and not live.state.files_to_restore)
            runs = any(map(runs_commands, live.means.tools.values()))
            await sandbox.wake(live)
            await sandbox.prepare(warm=files_are_there and runs and bool(live.inbox))

    async def suspend(self, live: Session) -> None:
        """Suspend the session's sandbox, before anything else of the session is closed."""
        sandbox = live.means.sandbox
        if isinstance(sandbox, SessionSandbox):
            await sandbox.sleep(live)

    async def rest(self, live: Session) -> None:
        """Close the session's sandbox, after `suspend` and before the session is released."""
        sandbox = live.means.sandbox
        if isinstance(sandbox, SessionSandbox):
            await sandbox.rest()

    def let_go(self, live: Session) -> None:
        """Close the sandbox of a session that this node has released, if its sleep did not."""
        sandbox = live.means.sandbox
        if isinstance(sandbox, SessionSandbox) and sandbox in self._open:
            self.going(sandbox.end())

    def going(self, ending: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a sandbox's shutdown to its end, even if its caller is cancelled."""
        task = asyncio.create_task(ending)
        self._going.add(task)
        task.add_done_callback(self._going.discard)
        return task

    async def close(self) -> None:
        for sandbox in list(self._open):
            await sandbox.close()
        await asyncio.gather(*self._going)
        await self.pool.close()
        await self.process.close()

    def forget(self, sandbox: SessionSandbox) -> None:
        if (had := self._open.pop(sandbox, None)) is None:
            return
        rooms = self._rooms[had[0]]
        rooms.remove(had[1])
        if not rooms:
            del self._rooms[had[0]]


class SandboxStatus(NamedTuple):
    """The state of a session's sandbox. suspends, usage: as in `Guest`. background: programs between commands."""

    running: bool
    backend: str | None
    suspends: Suspends = "none"
    background: int = 0
    usage: Usage = Usage()


class SessionSandbox:
    """A `Sandbox` of one session while it is awake. Before `prepare` its level is the one that the agent requires.
    `variables` returns those of all commands in a sandbox. `tell` takes the events (the choice, limits reached,
    programs that ended with the sandbox), `remark` the hints for the model."""

    def __init__(
        self,
        owner: Sandboxes,
        session: str,
        isolation: Isolation,
        place: Callable[[], SandboxSpec],
        notes: Path,
        room: WorkspaceQuota,
    ) -> None:
        self._owner, self._session, self._isolation, self._place = owner, session, isolation, place
        self._notes = notes
        self._choice: Choice | None = None
        self._guest: Guest | None = None
        self._plain: ProcessSandbox | None = None
        self._making = asyncio.Lock()
        self._folder: tuple[Path, tuple[int, int]] | None = None
        self._watched = Watched(room, lambda limit: self._hit(limit, killed=True))
        self._announced = self._explained = False
        self.variables: Callable[[], Mapping[str, str]] = dict
        self.tell: Callable[[ev.Event], None] = lambda event: None
        self.remark: Callable[[str], None] = lambda text: None

    @property
    def level(self) -> int:
        return self._isolation.required if self._choice is None else self._choice.level

    async def prepare(self, *, warm: bool) -> None:
        """Choose the backend, and with `warm` start the sandbox. If the required level is unavailable, each command
        reports that."""
        try:
            self._choice = await self._owner.choose(self._isolation)
        except SandboxError:
            return
        if warm and self._guest is None and self._choice.backend is not None:
            self._owner.pool.warm(self._session, self._start)

    async def exec(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        quota: Quota | None = None,
    ) -> ExecResult:
        """Run a command, as `Sandbox.exec`. Also raises `IsolationUnavailable`. A sandbox that ended by itself is
        created anew."""
        sandbox = await self._sandbox()
        env = self._with_variables(sandbox, env)
        result = await self._watched.exec(sandbox, argv, cwd=cwd, env=env, stdin=stdin, quota=quota)
        hit = {*result.limits, *([result.killed_by] if result.killed_by not in (None, "cancelled") else [])}
        for name in sorted(hit):
            self._hit(name, killed=result.killed_by == name)
        return result

    def _hit(self, limit: str, *, killed: bool) -> None:
        self.tell(ev.SandboxLimit(at=time.time(), limit=limit, killed=killed))
        if (said := full(limit, self._watched.room.bounds)) is not None:
            self.remark(said)

    async def spawn(
        self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str] | None = None, lossless: bool = False
    ) -> Terminal:
        """Start a background command that runs until the session sleeps."""
        sandbox = await self._sandbox()
        env = self._with_variables(sandbox, env)
        return await self._watched.spawn(sandbox, argv, cwd=cwd, env=env, lossless=lossless)

    def _with_variables(
        self, sandbox: Guest | ProcessSandbox, env: Mapping[str, str] | None
    ) -> Mapping[str, str] | None:
        """Add the session's variables, whose handles only a sandbox's proxy resolves."""
        own = None if isinstance(sandbox, ProcessSandbox) else self.variables()
        return {**own, **(env or {})} if own else env

    async def open_terminal(self, argv: Sequence[str], *, cwd: str, columns: int = 80, rows: int = 24) -> Terminal:
        """Run a program on a terminal until the session sleeps. Raises `SandboxError` where the sandbox has none."""
        sandbox = await self._sandbox()
        return await self._watched.open_terminal(sandbox, argv, cwd=cwd, columns=columns, rows=rows)

    async def start(self) -> None:
        """Start the sandbox now. Raises `SandboxError`."""
        await self._sandbox()

    async def stop(self, reason: str) -> None:
        """End the sandbox and all that runs in it. The next command starts another one."""
        async with self._making:
            guest, self._guest = self._guest, None
            if guest is None:
                return
            running = guest.background
            await asyncio.shield(self._owner.going(guest.close()))
        self.tell(ev.SandboxEnded(at=time.time(), reason=reason, background=running))

    async def status(self) -> SandboxStatus:
        """Return the state of the sandbox, without starting it. Raises `SandboxError`."""
        guest, name = self._guest, None if self._choice is None else self._choice.name
        if guest is None or not guest.alive:
            return SandboxStatus(False, name)
        return SandboxStatus(True, name, guest.capabilities.suspends, guest.background, await guest.usage())

    @property
    def can_suspend(self) -> bool:
        """Whether the sandbox keeps its memory while the session sleeps."""
        return self._isolation.suspend and self._guest is not None and self._guest.capabilities.suspends == "memory"

    async def sleep(self, live: Session) -> None:
        """Suspend the sandbox if the agent asks for it and the backend can; else leave it to `rest`."""
        if self._isolation.suspend and self._guest is not None and await lay_down(live, self._guest, self._notes):
            await self.close()

    async def wake(self, live: Session) -> None:
        """Resume a suspended sandbox at once, since its jobs are the session's."""
        if not self._isolation.suspend or self._guest is not None or not (self._notes / "sandbox.about").is_file():
            return
        try:
            choice = self._choice = await self._owner.choose(self._isolation)
            if choice.backend is not None:
                self._announce(choice)
                guest = self._guest = await resume_guest(live, choice.backend, await self._spec(), self._notes)
                for terminal in guest.terminals.values() if isinstance(guest, LinkedGuest) else ():
                    self._watched.follow(terminal)
        except SandboxError as error:
            log.warning("session %s: its sleeping sandbox cannot be taken up: %s", self._session, error)

    async def rest(self) -> None:
        """Close the sandbox before the session sleeps. Background programs are ended, and the log records it."""
        guest = self._guest
        running = guest.background if guest is not None and guest.alive else 0
        await self.close()
        if running:
            reason = "the session went to sleep"
            self.tell(ev.SandboxEnded(at=time.time(), reason=reason, background=running))

    async def close(self) -> None:
        """Close the sandbox. If cancelled, the shutdown continues until the owner is closed."""
        if self._guest is None and not self._watched.watches and not self._owner.pool.has(self._session):
            self._owner.forget(self)
            return
        await asyncio.shield(self._owner.going(self.end()))

    async def end(self) -> None:
        guest, self._guest = self._guest, None
        self._owner.forget(self)
        await self._watched.close()
        await self._owner.pool.drop(self._session)
        if guest is not None:
            await guest.close()

    async def _sandbox(self) -> Guest | ProcessSandbox:
        if self._choice is None:
            self._choice = await self._owner.choose(self._isolation)
        self._announce(self._choice)
        if self._choice.backend is None:
            self._explain(self._choice, Capabilities())
            return await self._process()
        async with self._making:
            if (guest := self._guest) is not None:
                if (reason := self._useless(guest)) is None:
                    self._explain(self._choice, guest.capabilities)
                    return guest
                self._guest, running = None, guest.background
                await asyncio.shield(self._owner.going(guest.close()))
                self.tell(ev.SandboxEnded(at=time.time(), reason=reason, background=running))
            guest = await self._owner.pool.take(self._session, self._start)
            if self._useless(guest) is not None:
                await asyncio.shield(self._owner.going(guest.close()))
                guest = await self._start()
            self._guest = guest
            self._explain(self._choice, guest.capabilities)
            return guest

    async def _process(self) -> ProcessSandbox:
        """Return level 0, running as the workspace's user where there is one."""
        if self._plain is None:
            spec = await self._spec()
            process = self._owner.process.with_address_space(spec.address_bytes)
            self._plain = process if spec.user is None else process.as_user(spec.user, spec.workspace)
        return self._plain

    def _useless(self, guest: Guest) -> str | None:
        """Return why commands can no longer run in the sandbox: it ended, or the session's folder was replaced."""
        if not guest.alive:
            return "it ended by itself"
        return None if self._folder is not None and _identity(self._folder[0]) == self._folder[1] else "files put back"

    def _announce(self, choice: Choice) -> None:
        if not self._announced:
            self._announced = True
            self.tell(ev.SandboxChosen(at=time.time(), level=choice.level, backend=choice.name, why=choice.why))

    def _explain(self, choice: Choice, able: Capabilities) -> None:
        """Tell the model once per wake what its commands run in: a session may wake on another machine."""
        if not self._explained:
            self._explained = True
            said = remark(choice, self._isolation, able)
            if said is not None:
                self.remark(said)

    async def _start(self) -> Guest:
        assert self._choice is not None
        assert self._choice.backend is not None
        return await self._choice.backend.create(await self._spec())

    async def _spec(self) -> SandboxSpec:
        isolation = self._isolation
        try:
            spec = await asyncio.to_thread(self._place)
            self._folder = spec.workspace, _identity(spec.workspace)
        except OSError as error:
            raise SandboxError(f"the session's folder cannot be used: {error.strerror}") from error
        except Invalid as error:
            raise SandboxError(error.message) from error
        network = Network(hosts=isolation.hosts)
        return msgspec.structs.replace(spec, bounds=isolation.bounds, network=network, marker=self._owner.marker)


def _asked_of(room: WorkspaceQuota, same: list[WorkspaceQuota]) -> Callable[[int, int], str | None]:
    """Return the quota check of file tools: it returns why a write is refused, or None. `same`: the quotas of all
    sessions in this workspace."""

    def asked(size: int, files: int) -> str | None:
        limit = room.admit(size, files)
        if limit is not None:
            return full(limit, room.bounds, writes=True)
        for other in tuple(same):
            if other is not room:
                other.lose(size, files)
        return None

    return asked


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = os.stat(folder)
    except FileNotFoundError:
        return (0, 0)
    return status.st_dev, status.st_ino


def runs_commands(tool: Tool) -> bool:
    """Whether a tool runs commands in the sandbox."""
    return tool.files and not tool.inside and tool.safety in ("high_risk", "destructive")
