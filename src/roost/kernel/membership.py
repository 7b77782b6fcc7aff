"""This node as a member of the cluster: its lease, its card, its duties, and what the other nodes offer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from roost.agent.definition import Agent
from roost.kernel.backoff import Backoff
from roost.kernel.config import KernelConfig
from roost.kernel.lease import Lease
from roost.kernel.ownership import Slots
from roost.kernel.placement import NodeLocation, needs, offers, python_parts, unknown_parts
from roost.kernel.resources import Agents
from roost.kernel.sandboxes import Sandboxes
from roost.kernel.signals import Signals
from roost.log.dispatch import NodeCard, NodeInfo
from roost.log.session_info import SessionInfo
from roost.log.store import Store
from roost.providers.accounts import Models
from roost.version import version

log = logging.getLogger("roost.node")
_THREAD_SECONDS = 0.1
"""Longest wait of a heartbeat for a thread, in seconds."""
_DUTY_SECONDS = 4.0
"""Seconds for which the holder of a duty is cached; less than the longest sleep between checks of the timers."""


class Membership:
    """Renew this node's lease by heartbeats, and publish its card with them.

    id: new at every start. place: where the node is. config: replaced when the settings change.
    draining: the node claims no more work.
    offered: tags that any living node offers, as of the last heartbeat.
    """

    def __init__(
        self,
        id: str,
        place: NodeLocation,
        config: KernelConfig,
        store: Store,
        agents: Agents,
        models: Models,
        sandboxes: Sandboxes,
        slots: Slots,
        backoff: Backoff,
        signals: Signals,
    ) -> None:
        self.id, self.place, self.config = id, place, config
        self._store = store
        self._agents, self._models, self._sandboxes = agents, models, sandboxes
        self._slots, self._backoff, self._signals = slots, backoff, signals
        self.draining = False
        self.offered: frozenset[str] = frozenset()
        self._offers: frozenset[str] = frozenset()
        self._duties: dict[str, tuple[bool, float]] = {}
        self._reading: asyncio.Task[dict[str, bool]] | None = None
        self._usable: dict[str, bool] | None = None
        self._lease = Lease(config.lease, self._lose)
        self.lost = True
        """True from the end of the lease until a heartbeat has renewed it; then all sessions here are released."""
        self._renewing = asyncio.Lock()

    async def join(self) -> None:
        """Make the first heartbeat. Raises `StoreFailed`."""
        await self._beat()
        self.lost = False

    async def leave(self) -> None:
        """Leave the cluster. Raises `StoreFailed`."""
        self._lease.close()
        await self._store.dispatch.leave(self.id)

    @property
    def holds_lease(self) -> bool:
        """True while this node may treat its sessions as its own. Without the lease nothing runs here."""
        return not self.lost and self._lease.held

    @property
    def lease_left(self) -> float:
        """Seconds until the lease ends unless a heartbeat renews it; 0 without a lease."""
        return self._lease.left if self.holds_lease else 0.0

    @property
    def claims(self) -> bool:
        """Whether this node claims work now."""
        return not self.draining and self.holds_lease

    def needs(self, agent: Agent, workspace: str | None, *, floor: int = 0) -> tuple[str, ...]:
        """Return the permanent needs of a session of this agent. floor: the least isolation."""
        model = None if agent.model is None else self._models.full(agent.model)
        return needs(agent, model, workspace, self.place, self.offered, floor=floor)

    def card(self) -> NodeCard:
        """Build the card that this node publishes with each heartbeat."""
        full = self.config.only is not None or self._backoff.reason is not None
        room = 0 if full else max(0, self.config.max_live - self._slots.driven)
        return NodeCard(
            id=self.id,
            home=self.place.home,
            url=self.place.url,
            offers=tuple(sorted(self._offers)),
            room=room,
            live=self._slots.driven,
            version=version(),
            draining=self.draining,
        )

    async def renew(self) -> None:
        """Renew the lease by a heartbeat. After a lost lease, first release all sessions of this node, then claim anew.
        Raises `StoreFailed`."""
        async with self._renewing:
            returning = self.lost
            if returning:
                await self._store.dispatch.leave(self.id)
            await self._beat()
            if returning and self._lease.held:
                self.lost = False
                log.warning("holds its lease again")
                self._signals.work.set()
                self._signals.look_again(None)

    def unknown_parts(self, info: SessionInfo) -> list[str]:
        """Return the Python parts of the session's agent that this node lacks. It must not run the session if there are
        any."""
        return unknown_parts(info.needs, python_parts(self._agents)) if info.needs else []

    async def unknown_everywhere(self, info: SessionInfo) -> list[str]:
        """Return the Python parts of the session's agent that no running node has. Raises `StoreFailed`."""
        if not self.unknown_parts(info):
            return []
        if unknown_parts(info.needs, self.offered) or not unknown_parts(info.needs, self._offers):
            await self.renew()  # a node may have joined since the last heartbeat, or this node's agents have changed
        return unknown_parts(info.needs, self.offered)

    async def announce(self, needs: Iterable[str]) -> None:
        """Publish this node's new offers, if `needs` are not all offered yet. Call it before creating a session with
        these needs."""
        if not self.offered.issuperset(needs):
            await self.renew()

    async def holds(self, duty: str) -> bool:
        """Return whether this node holds a duty of the cluster. Other nodes ask again after `_DUTY_SECONDS`, and take
        over from a dead holder. Raises `StoreFailed`."""
        if not self.claims:
            return False
        held, until = self._duties.get(duty, (False, 0.0))
        if time.monotonic() >= until:
            held = await self._store.coordination.hold(duty, self.id) is not None
            self._duties[duty] = (held, time.monotonic() + _DUTY_SECONDS)
        return held

    async def drop(self, duty: str) -> None:
        """Release one duty. Raises `StoreFailed`."""
        held, _ = self._duties.pop(duty, (False, 0.0))
        if held:
            await self._store.coordination.drop(duty, self.id)

    async def hand_over(self) -> None:
        """Release this node's duties. Raises `StoreFailed`."""
        duties, self._duties = self._duties, {}
        for name, (held, _) in duties.items():
            if held:
                await self._store.coordination.drop(name, self.id)

    async def _beat(self) -> None:
        accounts, nodes = await self._accounts(), await self._store.dispatch.nodes()
        self._offers = offers(self._agents, accounts, self._sandboxes.level, self.place, self.id, nodes)
        card, began = self.card(), time.monotonic()
        await self._store.dispatch.beat(card, ttl=self.config.lease)
        self._lease.renewed(began)
        self._backoff.see(one.card.id for one in nodes if _helps(one, self.id))
        others = (one.card for one in nodes if one.alive and one.card.id != self.id)
        self.offered = self._offers.union(*(card.offers for card in others))

    async def _accounts(self) -> dict[str, bool]:
        """Return which accounts can be used. Reuses an earlier heartbeat's result while tools keep all threads busy."""
        reading = self._reading
        if reading is None or reading.done():
            reading = self._reading = asyncio.create_task(asyncio.to_thread(self._models.accounts))
        await asyncio.wait([reading], timeout=None if self._usable is None else _THREAD_SECONDS)
        if self._usable is None or reading.done():
            self._usable = await reading
        return self._usable

    def _lose(self) -> None:
        """Give up all sessions and duties at once when the lease ends."""
        if self.lost:
            return
        self.lost = True
        log.error("the lease is lost: %d sessions are cut until the store can be reached again", len(self._slots.live))
        self._slots.lose_lease()
        self._duties.clear()


def _helps(one: NodeInfo, node: str) -> bool:
    return one.alive and one.card.room > 0 and not one.card.draining and one.card.id != node
