"""Build what a session acts with on this node from its pinned definition."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from msgspec.structs import replace

from roost.agent.calling_rights import refusal
from roost.agent.definition import NO_PARTS, Agent, AgentSpec, PythonParts
from roost.agent.resources import Deltas, Read, Resources
from roost.agent.session_credentials import SessionCredentials
from roost.authority import current
from roost.errors import Invalid, RoostError
from roost.ids import is_id
from roost.kernel.hibernation import is_suspended
from roost.kernel.model_pool import ModelPool
from roost.kernel.sandboxes import Sandboxes, SessionSandbox, runs_commands
from roost.log.content import ErrorData
from roost.models.request import Failed, Model, ModelEvent, Profile, Request
from roost.policy.gate import Layer, LayeredGate, hidden_at
from roost.policy.loading import Policy, load_project
from roost.policy.rules import Rule
from roost.policy.system_rules import system_rules
from roost.policy.vault import Vault
from roost.providers.accounts import Models
from roost.sandbox.backend import SandboxSpec, Secret
from roost.sandbox.base import User
from roost.sandbox.choose import Isolation
from roost.syncing import sync
from roost.tools.base import Toolbox
from roost.workspace.atomic_swap import aside, remove_tree
from roost.workspace.file_cache import read_index
from roost.workspace.files import Workspace
from roost.workspace.manifest import SnapshotDamaged
from roost.workspace.object_store import Objects, ObjectsFailed
from roost.workspace.objects.folder import FolderObjects
from roost.workspace.owners import user_of
from roost.workspace.save import Caps
from roost.workspace.snapshot_sync import SnapshotSync, SyncedFolder
from roost.workspace.snapshots import Place, View
from roost.workspace.views import FolderView

_NEW_SECONDS = 3600.0
"""Seconds after files were pinned for a fork in which the fork may still be created."""


class Unavailable:
    """Stand in for a model that cannot be used here: each call fails with the reason, and the turn reports it."""

    def __init__(self, name: str, error: RoostError) -> None:
        self.name = name
        self.profile = Profile()
        self._error = ErrorData(error.code, error.message)

    async def stream(self, request: Request) -> AsyncIterator[ModelEvent]:
        yield Failed(self._error)

    async def close(self) -> None:
        return None


class Agents:
    """The agents that this node knows, by name. New sessions use the last one added under a name. A request finds those
    in its scope alone. elsewhere: looks for an agent that this node does not know, such as one that the store keeps."""

    def __init__(self) -> None:
        self._agents: dict[str, Agent] = {}
        self.elsewhere: Callable[[str], Awaitable[Agent | None]] | None = None

    def add(self, agent: Agent) -> None:
        """Add an agent, or replace the one of its name."""
        self._agents[agent.name] = agent

    def renew(self, before: Sequence[Agent], after: Sequence[Agent]) -> list[str]:
        """Replace the agents `before` by `after`. Returns the names that have changed. An agent with Python parts is
        not removed, since its sessions need it."""
        changed = [agent for agent in after if self._agents.get(agent.name) is not agent]
        for agent in changed:
            self.add(agent)
        names = {agent.name for agent in after}
        gone = [one for one in before if one.name not in names and self._agents.get(one.name) is one]
        gone = [one for one in gone if not one.python]
        for agent in gone:
            del self._agents[agent.name]
        return sorted(agent.name for agent in (*changed, *gone))

    def get(self, name: str) -> Agent:
        """Return the agent of a name. Raises `Invalid` (`unknown_agent`)."""
        agent = self.find(name)
        if agent is None:
            known = ", ".join(one.name for one in self.all()) or "none"
            raise Invalid(f"there is no agent {name!r}; the agents are: {known}", code="unknown_agent")
        return agent

    async def resolve(self, name: str) -> Agent:
        """Return the agent of a name, as `get`, also one that this node does not know itself. Raises `StoreFailed`,
        and `Conflict` (`agent_archived`)."""
        if name not in self._agents and self.elsewhere is not None and is_id(name) and current().may_use(name):
            found = await self.elsewhere(name)
            if found is not None:
                return found
        return self.get(name)

    def find(self, name: str) -> Agent | None:
        return self._agents.get(name) if current().may_use(name) else None

    def all(self) -> list[Agent]:
        who = current()
        return [self._agents[name] for name in sorted(self._agents) if who.may_use(name)]

    def every(self) -> list[Agent]:
        """Return all agents, whoever asks: what the node itself knows."""
        return list(self._agents.values())

    def python(self, name: str) -> PythonParts:
        """Return the Python parts of an agent that this node knows; none if it does not know the agent."""
        agent = self._agents.get(name)
        return NO_PARTS if agent is None else agent.python


def _names(folder: Path) -> set[str]:
    return {name for name in os.listdir(folder) if not name.startswith(".")} if folder.is_dir() else set()


def _is_new(folder: Path) -> bool:
    try:
        return time.time() - folder.stat().st_mtime < _NEW_SECONDS
    except FileNotFoundError:
        return True


class _Feature(Protocol):
    """The part of `roost.kernel.node_feature.NodeFeature` that a session's resources need."""

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None: ...

    def furnish(self, spec: AgentSpec, sandbox: SandboxSpec) -> SandboxSpec: ...


class ResourceFactory:
    """Build the resources of sessions.

    root: the folder of the private workspaces.
    carrier: keeps their snapshots for all nodes. Without one, `home` keeps them at this home.
    model_pool: wraps every model that sessions call.
    features: put their ports into the resources.
    objects: opens the object store for what belongs to no session: that of the `carrier`, else a folder of the home.
    own_store: the store is a file of the home.
    """

    def __init__(
        self, agents: Agents, models: Models, root: Path, sandboxes: Sandboxes, deltas: Deltas, *, model_pool: ModelPool
    ) -> None:
        self._agents = agents
        self._model_pool = model_pool
        self._own: dict[str, tuple[Model, Model]] = {}
        self._models = models
        self._root = root
        self._real = Path(os.path.realpath(root))
        self._hidden = hidden_at(root.parent)
        self._bin = root / ".bin"
        self._memory = root.with_name(root.name + ".memory")
        self.carrier: SnapshotSync | None = None
        self.home: SnapshotSync | None = None
        self.objects: Callable[[], Objects] = lambda: FolderObjects.make(root.parent / "uploads")
        self.features: Sequence[_Feature] = ()
        self.policy = Policy()
        self.vault = Vault({})
        self.own_store = False
        self._sandboxes = sandboxes
        self._deltas = deltas

    @property
    def home_folder(self) -> Path:
        """Roost's home, with the token, the logs and the private files of every session."""
        return self._root.parent

    def private(self, session: str) -> Path:
        """Return the folder of a session that was created without a workspace."""
        return self._root / session

    def throw_away(self, session: str) -> None:
        """Move a session's private files into the bin."""
        with contextlib.suppress(FileNotFoundError):
            self._bin.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.rename(self.private(session), self._bin / session)

    def bring_back(self, session: str) -> None:
        """Restore a session's private files from the bin, if they are there."""
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._bin / session, self.private(session))

    def kept(self) -> list[str]:
        """Return the sessions that have or had private files here, except forks that may still be created. Blocks."""
        here, known = _names(self._root), _names(self._memory)
        return [*here, *(name for name in known - here if not _is_new(self._memory / name))]

    def lend(self, session: str, snapshot: str, fork: str) -> None:
        """Pin a snapshot of a session's files for its fork, which may not exist yet. Blocks. Raises `SnapshotDamaged`,
        `ObjectsFailed`."""
        place, to = Place(self.private(session), self._memory / session), Place(self.private(fork), self._memory / fork)
        if self.home is None:
            raise SnapshotDamaged("no snapshots are kept at this home")
        try:
            to.memory.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.utime(to.memory)
            self.note_heir(session, fork)
            self.home.snapshots.lend(place, snapshot, to)
        except OSError as error:
            raise ObjectsFailed(f"the files of session {session!r} cannot be kept for a fork: {error}") from error

    def view(self, sessions: Sequence[str], snapshot: str | None, *, near: View | None = None) -> View:
        """Open a snapshot from the first of these sessions that has it. near: as in `Snapshots.view`. Blocks. Raises
        `SnapshotDamaged`, `ObjectsFailed`."""
        carrier = self.carrier or self.home
        if carrier is None:
            raise SnapshotDamaged("no snapshots are kept at this home")
        for place, session in enumerate(sessions):
            try:
                held = Place(self.private(session), self._memory / session)
                return carrier.snapshots.view(held, snapshot, near=near)
            except SnapshotDamaged:
                if place == len(sessions) - 1:
                    raise
        raise SnapshotDamaged("no session has it")

    def view_now(self, session: str, saved: str | None, *, near: View | None = None) -> View:
        """Open a session's private files as they are now: the folder here, or with a `carrier` the snapshot `saved`.
        Blocks. Raises as `view`, and `OSError`, `TooLarge`."""
        if self.carrier is not None:
            return self.view([session], saved, near=near)
        return FolderView(self.private(session), files=Caps().files, remembered=read_index(self._memory / session))

    def note_heir(self, session: str, fork: str) -> None:
        """Record that the fork can go back to snapshots that only the session may hold. Blocks. Raises `OSError`."""
        heirs = self._heirs(session)
        if heirs.parent.is_dir() and not (heirs / fork).exists():
            heirs.mkdir(mode=0o700, exist_ok=True)
            (heirs / fork).touch()
            for folder in (heirs, heirs.parent):
                sync(folder)

    def heirs(self, session: str) -> list[str]:
        """Return the session's recorded forks, deleted ones included. Blocks."""
        return sorted(_names(self._heirs(session)))

    def _heirs(self, session: str) -> Path:
        return self._memory / session / "heirs"

    def thrown_away(self) -> list[str]:
        """Return the sessions whose files are in the bin. Moves in the bin of a former version, which stood beside the
        workspaces. Blocks."""
        before = self._root.with_name(self._root.name + ".bin")
        if before.is_dir():
            self._bin.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in os.listdir(before):
                remove_tree(self._bin / name)  # a crash may have left it half moved
                with contextlib.suppress(FileNotFoundError):  # another process of this home moved it first
                    shutil.move(before / name, self._bin / name)
            with contextlib.suppress(OSError):
                before.rmdir()
        return os.listdir(self._bin) if self._bin.is_dir() else []

    def empty_bin(self, session: str) -> None:
        """Remove a session's files from the bin for good. Blocks, longer with many files."""
        remove_tree(self._bin / session)
        remove_tree(self._memory / session)
        for folder in aside(self.private(session)):
            remove_tree(folder)
        if self._sandboxes.owners is not None:
            self._sandboxes.owners.release(self._real / session)

    def build(
        self,
        session: str,
        spec: AgentSpec,
        workspace: str | None,
        *,
        read: Read,
        account: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> Resources:
        """Build the resources of a session that wakes: model, tools, gate, workspace and sandbox, and the ports of its
        features. read: reads its log. account: whose it is; None is the home. now: wall clock for schedules."""
        tools, files = self._tools(spec), self.workspace(session, workspace)

        def place() -> SandboxSpec:
            return self._place(session, spec, account, files, {} if credentials is None else credentials.secrets)

        gate = self.gate(spec, workspace)
        files.unseen = lambda tool, searched: gate.unseen(tool, files.root, searched)
        isolation, private = self.isolation(spec, account), self._is_private(files)
        sandbox = self._sandboxes.of(session, isolation, place, self._memory / session, files, private=private)
        resources = Resources(
            model=self.model(spec),
            tools=tools,
            gate=gate,
            workspace=files,
            sandbox=sandbox,
            deltas=self._deltas,
            read=read,
            now=now,
            account=account,
            files=self._files(session, tools) if workspace is None else None,
            vault=self.vault.of_account(account) or None,
            approval_seconds=self.policy.approvals.seconds,
        )
        for one in self.features:
            one.equip(session, spec, resources)
        credentials = resources.find(SessionCredentials)
        if credentials is not None:
            sandbox.variables = lambda: credentials.variables
        return resources

    def beside(
        self, session: str, spec: AgentSpec, account: str | None, folder: Path
    ) -> tuple[Workspace, SessionSandbox]:
        """Return another folder of a session with a sandbox of its own, which has no secrets. Nothing is started
        yet."""
        files = self.workspace(session, str(folder))
        isolation = self.isolation(spec, account)
        sandbox = self._sandboxes.of(
            f"{session}:beside",
            isolation,
            lambda: self._place(session, spec, account, files, {}),
            self._memory / session / "beside",
            files,
            private=True,
        )
        return files, sandbox

    def _place(
        self, session: str, spec: AgentSpec, account: str | None, files: Workspace, secrets: Mapping[str, Secret]
    ) -> SandboxSpec:
        """Return the description of a session's sandbox. Blocks."""
        made = SandboxSpec(
            session=session,
            workspace=files.root,
            marker="",
            account=account,
            hidden=(self._root.parent,),
            secrets={**secrets},
            user=files.user,
        )
        for one in self.features:
            made = one.furnish(spec, made)
        return made

    def has_suspended_sandbox(self, session: str) -> bool:
        """Whether the session's sandbox sleeps at this home."""
        return is_suspended(self._memory / session)

    def isolation(self, spec: AgentSpec, account: str | None) -> Isolation:
        """Return the isolation of a session: the agent's, and for an account no less than the policy says."""
        least = 0 if account is None else self.policy.sandbox.accounts
        return spec.isolation if spec.isolation.required >= least else replace(spec.isolation, required=least)

    def demanded(self, agent: Agent, account: str | None) -> Isolation:
        """Return the isolation without which no session of an agent is made. Without tools that run commands that of
        an account needs no more than another."""
        runs = account is not None and any(map(runs_commands, agent.python.toolbox(agent.tools).values()))
        return self.isolation(agent.spec, account if runs else None)

    def gate(self, spec: AgentSpec, workspace: str | None) -> LayeredGate:
        """Return the permission gate. The project rules of a private workspace are not loaded: the agent alone writes
        there."""
        rules: dict[Layer, Sequence[Rule]] = {
            "user": self.policy.rules,
            "config": spec.rules,
            "project": load_project(Path(workspace), self._root.parent) if workspace is not None else (),
            "system": system_rules(),
        }
        return LayeredGate(
            spec.permissions,
            rules,
            hidden=(self._hidden,),
            refusal=lambda callee: refusal(spec, callee, self._agents.all()),
        )

    def model(self, spec: AgentSpec) -> Model:
        own = self._agents.python(spec.name).used(spec.tools, spec.model).model
        return self.named(spec.model) if own is None else self._own_stack(spec.name, own)

    def named(self, name: str | None) -> Model:
        """Return the stack of a model by its name; one that reports the reason if it cannot be used here."""
        try:
            return self._model_pool.stack(self._models.resolve(name))
        except RoostError as error:
            return Unavailable(name or "default", error)

    def _own_stack(self, agent: str, own: Model) -> Model:
        """Wrap an agent's own model once, since its circuit breaker keeps state."""
        known = self._own.get(agent)
        if known is None or known[0] is not own:
            known = self._own[agent] = (own, self._model_pool.stack(own, own=True))
        return known[1]

    def _tools(self, spec: AgentSpec) -> Toolbox:
        return self._agents.python(spec.name).toolbox(spec.tools)

    def keeps_files(self, spec: AgentSpec) -> Literal["home", "store"] | None:
        """Return where the private files of an agent's sessions are kept; None when it has no file tools or nothing
        keeps them."""
        if not any(tool.files for tool in self._tools(spec).values()):
            return None
        return "store" if self.carrier is not None else "home" if self.home is not None else None

    def _files(self, session: str, tools: Toolbox) -> SyncedFolder | None:
        carrier = self.carrier or self.home
        if carrier is None or not any(tool.files for tool in tools.values()):
            return None
        return carrier.folder(Place(self.private(session), self._memory / session))

    def _hidden_from(self, folder: Path) -> Path | None:
        """Return Roost's home if it must be hidden from commands in `folder`, since it may lie inside; None for a
        folder of the private workspaces."""
        real = Path(os.path.realpath(folder))
        return None if self._real in real.parents else self._root.parent

    def _is_private(self, files: Workspace) -> bool:
        """True for a private workspace, also for a child that works in its parent's."""
        return files.private or self._real in files.place.parents

    def _user(self, whose: str | Path) -> User | None:
        """Return the user that owns a session's private folder, or a given folder, which may be another session's.
        Blocks."""
        owners = self._sandboxes.owners
        if owners is None:
            return None
        real = self._real / whose if isinstance(whose, str) else Path(os.path.realpath(whose))
        if self._real not in real.parents:
            return user_of(real)
        private = self._real / real.relative_to(self._real).parts[0]
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
        return owners.claim(private)

    def workspace(self, session: str, folder: str | None) -> Workspace:
        """Return the session's files on this node: `folder`, or without one its private folder, which may not exist
        yet."""
        notes, owner = self._memory / session, lambda: self._user(session if folder is None else Path(folder))
        if folder is not None:
            hidden = self._hidden_from(Path(folder))
            return Workspace(Path(folder), private=False, hidden=hidden, notes=notes, owner=owner)
        return Workspace(self.private(session), private=True, notes=notes, real=self._real / session, owner=owner)
