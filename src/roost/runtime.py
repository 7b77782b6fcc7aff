"""`Runtime`: a node in your own process, without a server."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import os
from collections.abc import AsyncIterator, Callable, Container, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from roost.agent.agent_file_watch import AgentFiles
from roost.agent.definition import Agent
from roost.errors import RoostError
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
from roost.workspace.owners import find_owners
from roost.workspace.snapshot_sync import SnapshotSync
from roost.workspace.store import ObjectSnapshots

if TYPE_CHECKING:
    pass

S = TypeVar("S")
_MODEL_COMPLETED = b'{"type":"model.completed"'
_LOOK_SECONDS = 15.0
"""Silence after which the caller who waits for an answer looks at the session's state."""


class TurnFailed(RoostError):
    """The turn ended without an answer; the message says why."""

    code, status = "turn_failed", 502


YOUNG = 10_000
"""New objects between two garbage collections while sessions run."""


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
        self._opened, self._grace, self._stopping = contextlib.AsyncExitStack(), 0.0, asyncio.Lock()
        """What `stop` closes, newest first."""
        self._services: dict[type, object]

    async def start(self) -> None:
        """Open the store and begin to run sessions. Ends commands that a crashed runtime of this home left running.
        Raises `StoreFailed` when the home cannot be used, `ConfigError` when it is a copy of a home in use on the same
        store."""
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
        else:
            await refuse_without(store)
            memory = self.home / "workspaces.memory"
            snapshots = await asyncio.to_thread(choose, self.home / "workspaces", memory=memory, floor=floor)
            resources.home = SnapshotSync(snapshots, home=True, owners=owners)

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
        return Egress(spec.network.hosts, secrets=self.vault.for_egress(), blocked=blocked)

    def service(self, kind: type[S]) -> S:
        """Return the service of a feature, by its class. The same object each time."""
        if kind not in self._services:
            self._services[kind] = cast("Callable[[ServiceHost], S]", kind)(ServiceHost(self.node, self.sessions))
        return cast("S", self._services[kind])

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

    async def ask(
        self, content: str | Sequence[UserPart], *, key: str | None = None, on_approval: OnApproval | None = None
    ) -> str:
        """Send a message and wait for the answer. Raises `TurnFailed` when the turn ends without one, and
        `ApprovalNeeded` when a call waits for a person and no `on_approval` answers it."""
        head = (await self._sessions.get(self.id)).head
        accepted = await self.send(content, key=key)
        if accepted.duplicate:
            head = await find_turn(self._sessions, self.id, accepted.id) or 0
        return await self.answer(accepted.id, after=head, on_approval=on_approval)

    async def answer(self, item: int, *, after: int = 0, on_approval: OnApproval | None = None) -> str:
        """Wait for the answer of the turn that took in the accepted input `item`. Raises `TurnFailed` when the turn has
        none or the session is stopped or failed, `PartsUnknown` when no node can run it, and `ApprovalNeeded` as `ask`
        does."""
        await self._sessions.demand_parts(self.id)
        watch = TurnWatch(self._sessions, self.id, item)
        approvals = Approvals(self._approvals, self.id, item, on_approval)
        said: Record | None = None
        async for record in self._followed(watch, after):
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

    async def _followed(self, watch: TurnWatch, after: int) -> AsyncIterator[Record]:
        """Yield the log's events after a position, then follow it. Raises `TurnFailed` when the session is found to be
        halted after a silence."""
        async for batch in self._sessions.stream(self.id, after=after, deltas=False, idle=_LOOK_SECONDS):
            if not batch and (halted := await watch.look()) is not None:
                raise _halted(halted)
            for seq, body in batch:
                yield Record(seq or 0, body)

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


def _halted(halted: Halted) -> TurnFailed:
    return TurnFailed(f"the session is {halted.state}: {halted.reason or 'start it again first'}")


def _answer(end: ev.Event, said: Record | None) -> str:
    assert isinstance(end, ev.TurnCompleted)
    if end.outcome != "answered":
        raise TurnFailed(f"{end.outcome}: {end.reason or 'no reason given'}")
    last = None if said is None else said.event
    return AssistantMessage(last.parts).text if isinstance(last, ev.ModelCompleted) else ""
