"""A node: one process that runs sessions of a store. Builds the parts, starts, drains and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Container
from pathlib import Path
from typing import TypeVar

from roost.agent.feature import stays_awake
from roost.errors import RoostError, StoreFailed
from roost.kernel.backoff import Backoff
from roost.kernel.claims import Claims, ClaimsInFlight
from roost.kernel.commit_watch import CommitWatch
from roost.kernel.config import KernelConfig
from roost.kernel.deletion import Deletions
from roost.kernel.delta_hub import Hub
from roost.kernel.drivers import Drivers
from roost.kernel.duties import Duties
from roost.kernel.failure_log import FailureLog
from roost.kernel.local_http import LocalHttp
from roost.kernel.membership import Membership
from roost.kernel.meters import NodeMetrics
from roost.kernel.model_pool import ModelPool
from roost.kernel.node_feature import Host, NodeFeature, feature_classes
from roost.kernel.ownership import Slots
from roost.kernel.peers import Peers
from roost.kernel.placement import NodeLocation
from roost.kernel.resources import Agents, ResourceFactory
from roost.kernel.sandboxes import Sandboxes
from roost.kernel.session_creation import SessionCreation
from roost.kernel.signals import Signals
from roost.kernel.tenancy import tenants_view
from roost.kernel.timers import Timers
from roost.log.store import Store
from roost.providers.accounts import Models

F = TypeVar("F", bound=NodeFeature)
log = logging.getLogger("roost.node")
_JOBS_SECONDS = 10.0
"""Seconds for programs between turns to end. `roost.tools.background_jobs` gives up on a hung terminal after 7."""


class Node:
    """Run the sessions of one store. Call `start`, then put inputs into inboxes; `stop` is graceful.

    A node belongs to the event loop that started it, and never closes its store.
    id: new at every start.
    tenants: the store as requests see it (`roost.kernel.tenancy`); `store` is for the kernel.
    peers: asked for what only another node can do; None asks nobody.
    """

    def __init__(
        self,
        store: Store,
        *,
        id: str,
        agents: Agents,
        models: Models,
        sandboxes: Sandboxes,
        workspaces: Path,
        config: KernelConfig,
        place: NodeLocation,
        peers: Peers | None = None,
    ) -> None:
        self.id, self.place, self.store = id, place, store
        self.tenants = tenants_view(store)
        self.agents, self.models, self.sandboxes, self.peers = agents, models, sandboxes, peers
        self.hub = hub = Hub()
        self.model_pool = pool = ModelPool(models, store, node=id, lease=config.lease)
        self.resources = resources = ResourceFactory(agents, models, workspaces, sandboxes, hub, model_pool=pool)
        self.slots, self.signals, self.failures = slots, signals, failures = Slots(), Signals(), FailureLog(log)
        self.meters = meters = NodeMetrics(store, self._names)
        self.backoff = backoff = Backoff(store, slots, failures, signals)
        self.membership = here = Membership(
            id, place, config, store, agents, models, sandboxes, slots, backoff, signals
        )
        self.creation = SessionCreation(store, agents, resources, sandboxes, here)
        self.http = http = LocalHttp()
        host = Host(store, agents, models, pool, resources, sandboxes, self.creation, place, peers, http)
        self.sealing = host.sealing
        self.features = resources.features = features = tuple(kind(host) for kind in feature_classes())
        self.deletions = deletions = Deletions(store, here, slots, resources, pool, features, peers)
        drivers = Drivers(store, here, slots, resources, sandboxes, backoff, hub, meters, failures, signals, features)
        in_flight, timers = ClaimsInFlight(), Timers(store.dispatch, here, signals)
        self.claims = claims = Claims(store, here, slots, in_flight, backoff, drivers, meters, failures, signals)
        self.watch = watch = CommitWatch(store, here, slots, in_flight, signals, claims, drivers, timers)
        self.duties = Duties(store, here, sandboxes, pool.ledger, claims, watch, timers, deletions, failures, signals)
        self._unwatch: Callable[[], None] = lambda: None
        self._uncount: Callable[[], None] = lambda: None
        self._background: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Register the node and begin to claim work. Raises `StoreFailed`."""
        await self.membership.join()
        await self.deletions.undo()
        await self.duties.charge_dead()  # a short-lived program exits before the duty's first turn
        self._uncount = self.meters.start()
        self._unwatch = self.store.changes.watch(self.watch.changed)
        self.store.dispatch.on_work(self.scan)
        self.scan()
        self._background = [
            asyncio.create_task(self.claims.run()),
            *self.duties.start(),
            asyncio.create_task(self._start_features()),
        ]

    async def _start_features(self) -> None:
        for feature in self.features:
            try:
                await feature.start()
            except (RoostError, OSError) as error:
                self.failures.failed(f"start of {type(feature).__name__}", error)

    async def drain(self, *, grace: float = 5.0) -> None:
        """Claim no more work, and release all sessions for other nodes. This node cannot resume work afterwards.

        Steps in progress get `grace` seconds, then they are cut as by a crash. Sessions that a program keeps awake get
        up to 10 seconds more, to end it and to log that. Reads and streams are served as before.
        """
        self.membership.draining = True
        busy = {name for name, live in self.slots.live.items() if stays_awake(live)}
        with contextlib.suppress(StoreFailed):
            await self.membership.hand_over()
            await self.membership.renew()
        for cut in (False, True):
            for live in self.slots.live.values():
                live.interrupts.shut_down(cut=cut)
            await self._ended(grace)
        await self._ended(_JOBS_SECONDS, busy)
        with contextlib.suppress(StoreFailed):
            await self.claims.retry_parked()
            await self._ended(grace)

    async def stop(self, *, grace: float = 5.0) -> None:
        """Drain, then leave the cluster. Sessions that no other node claims resume when a node starts again."""
        self._unwatch()
        await self.drain(grace=grace)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._uncount()
        self.backoff.close()
        self.failures.close()
        self.claims.close()
        with contextlib.suppress(StoreFailed):
            await self.membership.leave()

    def feature(self, kind: type[F]) -> F:
        """Return this node's instance of a feature."""
        return next(one for one in self.features if isinstance(one, kind))

    def scan(self) -> None:
        """Look for work now."""
        self.signals.work.set()

    async def evict(self, session: str) -> None:
        """Put a session to sleep and wait until it sleeps. Cuts its step in progress. Raises `StoreFailed`."""
        await self.backoff.release(session)
        await self.slots.cut(session)

    def _names(self, session: str) -> tuple[str, str] | None:
        live = self.slots.live.get(session)
        return None if live is None else (live.spec.name, live.means.model.name)

    async def _ended(self, seconds: float, sessions: Container[str] | None = None) -> None:
        tasks = self.slots.tasks(sessions)
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
