"""`Runtime`: a node in your own process, without a server."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import os
from collections import ChainMap
from collections.abc import AsyncIterator, Callable, Container, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

import msgspec

from roost import registry
from roost.agent.agent_file_watch import AgentFiles
from roost.agent.definition import Agent
from roost.errors import RoostError, StoreFailed
from roost.features.approvals.answering import Approvals, OnApproval
from roost.ids import new_id
from roost.kernel.config import KernelConfig
from roost.kernel.delta_relay import Links
from roost.kernel.home import belongs_to, home_id, refuse_copy, store_name
from roost.kernel.node import Node
from roost.kernel.orphan_processes import marker_of, reap
from roost.kernel.peers import HttpPeers, Secret
from roost.kernel.placement import NodeLocation
from roost.kernel.resources import Agents
from roost.kernel.sandboxes import Sandboxes
from roost.kernel.service_host import ServiceHost
from roost.kernel.sessions import Sessions
from roost.kernel.settings_reload import Reloading
from roost.kernel.snapshot_store_id import agree, refuse_without
from roost.kernel.turn_watch import Halted, TurnWatch, find_turn
from roost.locks import Locks
from roost.log import events as ev
from roost.log.content import AssistantMessage, UserPart
from roost.log.dispatch import Dispatcher
from roost.log.event_bus import Bus
from roost.log.frames import Delta, TextPieces
from roost.log.protocols import Accepted, Record
from roost.log.session_info import ControlAction, Decision, GrantScope, InputMode, SessionInfo
from roost.log.session_views import SessionView
from roost.log.store import Durability, Store
from roost.policy.loading import FILE, Policy, load_policy
from roost.policy.vault import Vault
from roost.providers.accounts import Models
from roost.providers.config_file import load_config
from roost.runtime_services import RuntimeServices
from roost.sandbox.backend import Backend, SandboxSpec
from roost.sandbox.choose import default_backends
from roost.sandbox.disk_reserve import RESERVE, DiskReserve, free_of
from roost.sandbox.egress import Blocked, Egress
from roost.sandbox.host_process import ProcessSandbox
from roost.sandbox.probe_cache import PROBES, ProbeCache
from roost.stores.open import open_store
from roost.workspace.cow.probe import choose
from roost.workspace.disk_room import Space
from roost.workspace.objects import open_objects
from roost.workspace.objects.folder import FolderObjects
from roost.workspace.owners import find_owners
from roost.workspace.snapshot_sync import SnapshotSync
from roost.workspace.store import ObjectSnapshots

S = TypeVar("S")
T = TypeVar("T")
_MODEL_COMPLETED = b'{"type":"model.completed"'
_RECEIVED = b'{"type":"input.received"'
_DELTA = b'{"type":"delta"'
YOUNG = 10_000
"""New objects between two garbage collections while sessions run."""
_MADE_BY_START = frozenset(
    ("models", "users", "sandboxes", "secret", "peers", "node", "configuration", "links", "sessions", "_services")
)
_LOOK_SECONDS = 15.0
"""Silence after which the caller who waits for an answer looks at the session's state."""


class TurnFailed(RoostError):
    """The turn ended without an answer; the message says why."""

    code, status = "turn_failed", 502


def _collect_less() -> None:
    """Collect garbage less often: working sessions hold thousands of young objects at each commit, and none of them is
    garbage (measured with 100 sessions in turns of 99 steps)."""
    young, *older = gc.get_threshold()
    if 0 < young < YOUNG:
        gc.set_threshold(YOUNG, *older)


def default_home() -> Path:
    """`$ROOST_HOME`, else `~/.roost`."""
    return Path(os.environ.get("ROOST_HOME") or Path.home() / ".roost")


class Runtime(RuntimeServices):
    """Open a home folder (store, workspaces) and run its sessions until closed.

    >>> async with Runtime(agents=[Agent("clerk", tools=["read_file"])]) as runtime:
    ...     session = await runtime.session("clerk")
    ...     print(await session.ask("What is in notes.txt?"))

    Several runtimes and a daemon may share a home: each session runs in one of them at a time.
    agent_files: agents read from files, read again when they change.
    store: replaces the home's SQLite file: an address (`roost.stores.open.open_store`) or a store, which the runtime
        closes. With PostgreSQL the nodes may run on many machines.
    policy: replaces the home's `policy.toml`.
    dispatcher: builds the dispatcher that decides which node runs which session; by default the store.
    snapshots: where private files are kept for all nodes; the same on every node.
    advertise: the URL under which other nodes reach this one.
    shared_folders: folders that exist on all nodes.
    backends: isolation backends for commands; by default Roost's own.

    Python's garbage collector then runs after every 10,000 new objects, unless the program has turned it off or set it
    higher: at the default of 700 it would take a fifth of the processor's time.
    """

    def __init__(
        self,
        home: str | Path | None = None,
        *,
        agents: Sequence[Agent] = (),
        agent_files: AgentFiles | None = None,
        models: Models | None = None,
        store: str | Path | Store | None = None,
        config: KernelConfig | None = None,
        policy: Policy | None = None,
        durability: Durability = "full",
        dispatcher: Callable[[Store], Dispatcher] | None = None,
        snapshots: str | None = None,
        advertise: str | None = None,
        shared_folders: Sequence[str | Path] = (),
        backends: Sequence[Backend] | None = None,
    ) -> None:
        self.home = Path(home) if home is not None else default_home()
        self.agents = Agents()
        for agent in (*agents, *(agent_files.agents if agent_files is not None else ())):
            self.agents.add(agent)
        self._agent_files = agent_files
        self._models = models
        self._store = store
        self._config = config
        self._policy = policy
        self._durability: Durability = durability
        self._dispatcher = dispatcher
        self._snapshots = snapshots
        self.advertise = advertise
        self._shared_folders = tuple(map(Path, shared_folders))
        self._backends = backends
        self._nodes = Locks(self.home / "run")
        self._opened = contextlib.AsyncExitStack()
        """What `stop` closes, newest first."""
        self._grace, self._stopping = 0.0, asyncio.Lock()
        self._services: dict[type, object]

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in _MADE_BY_START:
                raise RuntimeError("the runtime is not started: use `async with Runtime(...) as runtime:`")
            return object.__getattribute__(self, name)  # raises what was raised

    async def start(self) -> None:
        """Open the store and begin to run sessions. Ends commands that a crashed runtime of this home left running.
        Raises `StoreFailed` when the home cannot be used, `ConfigError` when it is a copy of a home in use on the same
        store."""
        try:
            # Before anything is made in it: the files of sessions are for its owner alone.
            await asyncio.to_thread(self.home.mkdir, 0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreFailed(f"cannot use the home {str(self.home)!r}: {error}") from error
        given = self._store if self._store is not None else self.home / "roost.db"
        store = await self._open(given) if isinstance(given, str | Path) else given
        self._opened.callback(self._nodes.close)
        self._opened.push_async_callback(store.close)
        try:
            await self._start(store, new_id("node"))
        except BaseException:
            with contextlib.suppress(RoostError):
                await self.stop(grace=0.0)
            raise

    async def _open(self, given: str | Path) -> Store:
        floor = DiskReserve(self.home, 0, self.home / RESERVE)
        if (free := await asyncio.to_thread(free_of, self.home)) is not None:
            await asyncio.to_thread(floor.give, free)  # starting needs some free disk space
        return await open_store(given, durability=self._durability, on_full=floor.spare)

    async def _start(self, store: Store, node: str) -> None:
        _collect_less()
        self.models = self._models or Models(config=await asyncio.to_thread(load_config, self.home, os.environ))
        policy = self._policy or await asyncio.to_thread(load_policy, self.home / FILE)
        await asyncio.to_thread(self._take_place, node)
        self.users = await asyncio.to_thread(find_owners, self.home, policy.sandbox.users)
        floor = DiskReserve(self.home, policy.sandbox.free_bytes, self.home / RESERVE)
        self.sandboxes = self._make_sandboxes(policy, marker_of(self.home, node), floor)
        self._opened.push_async_callback(self.sandboxes.close)
        if self._dispatcher is not None:
            store = dataclasses.replace(store, dispatch=self._dispatcher(store))
            self._opened.push_async_callback(store.dispatch.close)
        self.secret = Secret(store.coordination)
        self.peers = HttpPeers(self.secret)
        self._opened.push_async_callback(self.peers.close)
        self.node = Node(
            store,
            id=node,
            agents=self.agents,
            models=self.models,
            sandboxes=self.sandboxes,
            workspaces=self.home / "workspaces",
            config=self._config or KernelConfig(),
            place=await self._place(store),
            peers=self.peers,
        )
        self._opened.push_async_callback(self.node.model_pool.close)
        for feature in self.node.features:
            self._opened.push_async_callback(feature.close)
        self._opened.callback(self._close_carriers)
        self.node.resources.own_store = self._store is None
        await self._take_policy(policy)
        self.configuration = self._reloading(policy)
        self.links = Links(store, self.node.hub, self.peers, node=node, live=self.node.slots.live)
        self.node.hub.audience = self.links
        self.sessions, self._services = Sessions(self.node), {}
        await self._keep_files(store, floor)
        dead = await self._refuse_copy()
        self._opened.push_async_callback(self.links.close)
        self._opened.push_async_callback(self.configuration.close)
        await self.configuration.start()
        self._opened.push_async_callback(self.models.close)
        self._opened.push_async_callback(self._stop_node)
        await self.node.start()
        await self._refuse_copy(dead)  # a copy that started at the same moment
        self.configuration.watch()

    def _make_sandboxes(self, policy: Policy, marker: str, floor: DiskReserve) -> Sandboxes:
        given, kept = self._backends, ProbeCache(self.home / PROBES)
        backends = default_backends(self._way_out, policy.sandbox) if given is None else given
        process, owners = ProcessSandbox(marker=marker), self.users.owners
        return Sandboxes(process, backends, marker=marker, kept=kept, floor=floor, owners=owners)

    async def _keep_files(self, store: Store, floor: DiskReserve) -> None:
        """Choose where the sessions' private files are kept: in the snapshot store, or at this home."""
        resources, owners = self.node.resources, self.users.owners
        if self._snapshots is not None:
            objects = await asyncio.to_thread(open_objects, self._snapshots)
            await agree(store, objects, self._snapshots)
            kept_by = ObjectSnapshots(objects, owner=await store_name(store), space=Space(floor))
            resources.carrier = SnapshotSync(kept_by, owners=owners)
            resources.objects = lambda: objects
        else:
            await refuse_without(store)
            memory = self.home / "workspaces.memory"
            snapshots = await asyncio.to_thread(choose, self.home / "workspaces", memory=memory, floor=floor)
            resources.home = SnapshotSync(snapshots, home=True, owners=owners)
            resources.objects = lambda: FolderObjects.make(self.home / "uploads", Space(floor))

    def _reloading(self, policy: Policy) -> Reloading:
        return Reloading(
            self.node,
            self.home,
            files=self._agent_files,
            models=self._models is None,
            policy=policy,
            policy_file=self._policy is None,
            take_policy=self._take_policy,
        )

    async def stop(self, *, grace: float = 5.0) -> None:
        """Stop gracefully: steps in progress get `grace` seconds. Accepted inputs stay accepted. After a failed start,
        which has closed what it had opened, and the second time, there is nothing to do."""
        self._grace = grace
        async with self._stopping:
            await self._opened.aclose()

    async def _stop_node(self) -> None:
        await self.node.stop(grace=self._grace)

    def _close_carriers(self) -> None:
        for carrier in (self.node.resources.carrier, self.node.resources.home):
            if carrier is not None:
                carrier.close()

    async def __aenter__(self) -> Runtime:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def session(self, agent: str, **options: Any) -> SessionHandle:
        """Create a session. Options as of `Sessions.create`."""
        info = await self.sessions.create(agent, **options)
        return SessionHandle(self, info.id)

    def open(self, session: str) -> SessionHandle:
        """Return a handle on an existing session, without checking that it exists."""
        return SessionHandle(self, session)

    async def _place(self, store: Store) -> NodeLocation:
        return NodeLocation(
            home=await asyncio.to_thread(home_id, self.home),
            url=self.advertise,
            shared_folders=self._shared_folders,
            files_follow=self._snapshots is not None,
            tidy=await asyncio.to_thread(belongs_to, self.home, await store_name(store), own=self._store is None),
        )

    async def _take_policy(self, policy: Policy) -> None:
        """Apply a policy, at start or when a person orders it: an agent cannot change it during a run. Raises
        `ConfigError` and changes nothing."""
        vault = await asyncio.to_thread(Vault.read, policy.secrets, os.environ, Path(".env"))
        resources = self.node.resources
        resources.policy, resources.vault = policy, vault

    def _way_out(self, spec: SandboxSpec, blocked: Callable[[Blocked], None]) -> Egress:
        secrets = ChainMap(spec.secrets, self.vault.of_account(spec.account).for_egress())
        return Egress(spec.network.hosts, secrets=secrets, gateway=spec.gateway, blocked=blocked)

    def service(self, kind: type[S]) -> S:
        """Return the service of a feature, by its class. The same object each time."""
        if kind not in self._services:
            self._services[kind] = cast("Callable[[ServiceHost], S]", kind)(ServiceHost(self.node, self.sessions))
        return cast("S", self._services[kind])

    def identities(self) -> list[Any]:
        """Return what knows tokens besides the home's own: one object for each `identity.py` of a feature."""
        return [module.IDENTITY(ServiceHost(self.node, self.sessions)) for module in registry.load("identity")]

    def _service(self, module: str) -> Any:
        return self.service(import_module(module).SERVICE)

    @property
    def vault(self) -> Vault:
        return self.node.resources.vault

    async def _refuse_copy(self, dead: Container[str] = ()) -> set[str]:
        node = self.node
        name, lease = node.place.home, node.membership.config.lease
        return await refuse_copy(self.home, name, self._nodes, node.store.dispatch, lease, dead=dead)

    def _take_place(self, node: str) -> None:
        self._nodes.hold(node)
        reap(self.home, self._nodes, self._every_backend)

    def _every_backend(self) -> Sequence[Backend]:
        """Return all backends, including those that the policy excludes."""
        return tuple(default_backends(self._way_out)) if self._backends is None else self._backends


class SessionHandle:
    """A handle on one session for Python programs."""

    def __init__(self, runtime: Runtime, session: str) -> None:
        self.id = session
        self._sessions, self._compaction = runtime.sessions, runtime.compaction
        self._approvals = runtime.approvals
        self.bus = Bus(runtime.node.store, session, self._sessions.emit)

    async def send(
        self, content: str | Sequence[UserPart], *, mode: InputMode = "follow_up", key: str | None = None
    ) -> Accepted:
        return await self._sessions.send(self.id, content, mode=mode, key=key)

    @overload
    async def ask(
        self,
        content: str | Sequence[UserPart],
        *,
        answer: None = None,
        key: str | None = None,
        on_delta: Callable[[str], None] | None = None,
        on_approval: OnApproval | None = None,
    ) -> str: ...
    @overload
    async def ask(
        self,
        content: str | Sequence[UserPart],
        *,
        answer: type[T],
        key: str | None = None,
        on_delta: Callable[[str], None] | None = None,
        on_approval: OnApproval | None = None,
    ) -> T: ...
    async def ask(
        self,
        content: str | Sequence[UserPart],
        *,
        answer: type[T] | None = None,
        key: str | None = None,
        on_delta: Callable[[str], None] | None = None,
        on_approval: OnApproval | None = None,
    ) -> str | T:
        """Send a message and wait for the answer. Raises `TurnFailed` when the turn ends without one, and
        `ApprovalNeeded` when a call waits for a person and no `on_approval` answers it.

        answer: a class with fields; the answer is an object of it. The model gets its schema and may correct an answer
            that does not fit twice; then raises `AnswerInvalid`.
        on_delta: gets the text of the model's answers piece by piece.
        """
        if answer is None:
            return await self._ask(content, None, key, on_delta, on_approval)
        from roost.features.client_tools.answer_types import AnswerType, ask_for

        kind = AnswerType(answer)

        async def ask(correction: str | None) -> str:
            if correction is not None:
                return await self._ask(correction, kind.note, None, on_delta, on_approval)
            return await self._ask(content, kind.note, key, on_delta, on_approval)

        return await ask_for(kind, ask)

    async def _ask(
        self,
        content: str | Sequence[UserPart],
        note: dict[str, Any] | None,
        key: str | None,
        on_delta: Callable[[str], None] | None,
        on_approval: OnApproval | None,
    ) -> str:
        head = (await self._sessions.get(self.id)).head
        accepted = await self._sessions.send(self.id, content, key=key, note=note)
        if accepted.duplicate:
            head = await find_turn(self._sessions, self.id, accepted.id) or 0
        return await self.answer(accepted.id, after=head, on_delta=on_delta, on_approval=on_approval)

    async def answer(
        self,
        item: int,
        *,
        after: int = 0,
        on_delta: Callable[[str], None] | None = None,
        on_approval: OnApproval | None = None,
    ) -> str:
        """Wait for the answer of the turn that took in the accepted input `item`. Raises `TurnFailed` when the turn has
        none or the session is stopped or failed, `PartsUnknown` when no node can run it, and `ApprovalNeeded` as `ask`
        does."""
        await self._sessions.demand_parts(self.id)
        watch = TurnWatch(self._sessions, self.id, item)
        approvals = Approvals(self._approvals, self.id, item, on_approval)
        pieces = None if on_delta is None else _Pieces(item, on_delta)
        said: Record | None = None
        async for record in self._followed(watch, after, pieces):
            if record.body.startswith(_MODEL_COMPLETED):
                said = record
                continue
            match await watch.see(record.body):
                case "completed":
                    return _answer(record.event, said)
                case Halted() as halted:
                    raise _halted(halted)
                case None:
                    await approvals.see(record)
        raise TurnFailed(f"session {self.id!r} was deleted")

    async def _followed(self, watch: TurnWatch, after: int, pieces: _Pieces | None) -> AsyncIterator[Record]:
        """Yield the log's events after a position, then follow it; deltas go to `pieces`. Raises `TurnFailed` when the
        session is found to be halted after a silence."""
        deltas = pieces is not None
        async for batch in self._sessions.stream(self.id, after=after, deltas=deltas, idle=_LOOK_SECONDS):
            if not batch and (halted := await watch.look()) is not None:
                raise _halted(halted)
            for seq, body in batch:
                if pieces is not None:
                    pieces.see(body)
                if seq is not None:
                    yield Record(seq, body)

    async def events(self, *, after: int = 0) -> AsyncIterator[ev.Event]:
        """Yield the log's events after a position, then follow it."""
        async for record in self._sessions.tail(self.id, after=after):
            yield record.event

    async def control(self, action: ControlAction) -> SessionInfo:
        if action == "compact":
            return await self._compaction.compact(self.id)
        return await self._sessions.control(self.id, action)

    async def approve(
        self,
        call: str,
        decision: Decision = "approve",
        *,
        note: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        always: Sequence[str] = (),
        scope: GrantScope | None = None,
        asked: int | None = None,
    ) -> Accepted:
        """Answer a waiting call, as `ApprovalService.answer`."""
        accepted = await self._approvals.answer(
            self.id, call, decision, note=note, arguments=arguments, always=always, scope=scope, asked=asked
        )
        return Accepted(accepted.input, accepted.duplicate, accepted.head)

    async def inspect(self) -> SessionView:
        return await self._sessions.inspect(self.id)

    async def delete(self) -> None:
        await self._sessions.delete(self.id)


class _Pieces:
    """Passes on the text of the turn that takes the input `item` in, as it is written."""

    def __init__(self, item: int, tell: Callable[[str], None]) -> None:
        self._item, self._tell = item, tell
        self._mine, self._pieces = False, TextPieces()

    def see(self, body: bytes) -> None:
        if body.startswith(_DELTA):
            delta = msgspec.json.decode(body, type=Delta)
            if self._mine and delta.kind == "text" and (new := self._pieces.new(delta)):
                self._tell(new)
        elif self._mine and body.startswith(_MODEL_COMPLETED):
            end = Record(0, body).event
            assert isinstance(end, ev.ModelCompleted)
            if rest := self._pieces.rest(end.step, AssistantMessage(end.parts).text):
                self._tell(rest)
        elif body.startswith(_RECEIVED):
            self._mine = self._mine or getattr(Record(0, body).event, "input", None) == self._item


def _halted(halted: Halted) -> TurnFailed:
    return TurnFailed(f"the session is {halted.state}: {halted.reason or 'start it again first'}")


def _answer(end: ev.Event, said: Record | None) -> str:
    assert isinstance(end, ev.TurnCompleted)
    if end.outcome != "answered":
        raise TurnFailed(f"{end.outcome}: {end.reason or 'no reason given'}")
    last = None if said is None else said.event
    return AssistantMessage(last.parts).text if isinstance(last, ev.ModelCompleted) else ""
