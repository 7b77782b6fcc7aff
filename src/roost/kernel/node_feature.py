"""The seams of the node: the moments at which it asks the features about sessions that may not be in memory.

A feature that has work there is a subclass of `NodeFeature` that overrides the seams it needs. The class is `NODE` in
`roost/features/NAME/duties.py`. Each node makes one instance of each, in the order of `roost.registry.FEATURES`, and
asks them in this order. What happens inside a session that is awake is for the seams of the loop
(`roost.agent.feature`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import ClassVar, NamedTuple

from roost import registry
from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.agent.session import Session
from roost.kernel.local_http import LocalHttp
from roost.kernel.model_pool import ModelPool
from roost.kernel.peers import Peers
from roost.kernel.placement import NodeLocation
from roost.kernel.resources import Agents, ResourceFactory
from roost.kernel.sandboxes import Sandboxes
from roost.kernel.session_creation import SessionCreation
from roost.log.protocols import Delivery, Record
from roost.log.session_info import SessionInfo
from roost.log.store import Store
from roost.policy.sealing import Sealing
from roost.providers.accounts import Models
from roost.sandbox.backend import SandboxSpec
from roost.stores.findings import Fault


class Host(NamedTuple):
    """The parts of a node that its features may use. peers: asks other nodes; None asks nobody. http: serves programs
    that a feature starts."""

    store: Store
    agents: Agents
    models: Models
    model_pool: ModelPool
    resources: ResourceFactory
    sandboxes: Sandboxes
    creation: SessionCreation
    place: NodeLocation
    peers: Peers | None
    http: LocalHttp

    def sealing(self) -> Sealing:
        """Return what seals secrets that the store keeps."""
        resources = self.resources
        return Sealing(self.store.coordination, resources.home_folder, own_store=lambda: resources.own_store)


class LogCheck:
    """Compare the log of one session with a feature's rows in the store."""

    def add(self, record: Record) -> Iterator[Fault]:
        """Take the next event of the log."""
        return iter(())

    async def end(self) -> AsyncIterator[Fault]:
        """Compare at the end of a log that was read as a whole."""
        for fault in list[Fault]():
            yield fault


class StoreCheck:
    """Check a feature's rows in a store, and then each log against them. Made once for a check of a whole store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def rows(self) -> AsyncIterator[Fault]:
        """Check the rows, before any log is read."""
        for fault in list[Fault]():
            yield fault

    def log(self, info: SessionInfo) -> LogCheck:
        """Return the check of one session's log."""
        return LogCheck()


class NodeFeature:
    """A feature of a node. Every method is a seam; the ones here do nothing.

    checks: compares the feature's rows in the store with the logs.
    """

    checks: ClassVar[type[StoreCheck] | None] = None

    def __init__(self, host: Host) -> None:
        self.host = host

    async def start(self) -> None:
        """Do what the feature must do once when the node has started. It runs beside the node's other work; a failure
        is logged. Raises `RoostError`, `OSError`."""

    async def close(self) -> None:
        """Release what the feature holds. The node has stopped."""

    async def tidy(self) -> None:
        """Remove what is left over at this home. Called when the node starts and every ten minutes, in a home of one
        store. Raises `StoreFailed`, `OSError`."""

    # A session wakes

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        """Put the feature's ports into the resources of a session that wakes."""

    def furnish(self, spec: AgentSpec, sandbox: SandboxSpec) -> SandboxSpec:
        """Return the description of a session's sandbox with what the feature needs inside. Blocks; called in a thread
        before the sandbox is made. Raises `OSError`."""
        return sandbox

    # A session fails

    def failed(self, session: Session, reason: str) -> Sequence[Delivery]:
        """Return messages to other sessions that the failure of a session causes, in the same commit."""
        return ()

    def failed_unread(self, info: SessionInfo, reason: str) -> Sequence[Delivery]:
        """Return the same for a session whose log cannot be read."""
        return ()

    # A session is deleted

    async def before_deletion(self, info: SessionInfo) -> None:
        """Prepare for the deletion of a session that this node owns and that was not stopped. It cannot be prevented;
        after a crash it begins again, and this is called again. Raises `StoreFailed`."""

    def deleted(self, info: SessionInfo, children: Sequence[SessionInfo]) -> Sequence[Delivery]:
        """Return messages to other sessions that the deletion of a session causes. They are delivered in one commit,
        and then its `children` are deleted. children: all sessions that it made and that still exist."""
        return ()

    async def hand_on(self, session: str) -> None:
        """Pin what other sessions need of a session's private files, before these are removed at this home. Idempotent;
        when it raises, the files stay and it is called again later. Raises `RoostError`, `OSError`."""


def feature_classes() -> tuple[type[NodeFeature], ...]:
    """Return the class of every feature that has seams in the node, in order."""
    return tuple(module.NODE for module in registry.load("duties"))
