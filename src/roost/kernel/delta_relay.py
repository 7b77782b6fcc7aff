"""Relay deltas of sessions on other nodes into this node's hub, for the readers here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Container

from roost.errors import NotFound, RoostError
from roost.kernel.delta_hub import Hub
from roost.kernel.peers import Peers
from roost.log.dispatch import NodeInfo
from roost.log.frames import Delta
from roost.log.protocols import Change
from roost.log.store import Store

log = logging.getLogger("roost.links")
_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_NODES_SECONDS = 1.0


class Links:
    """One upstream for each session that is watched here and runs elsewhere, whatever the number of readers. It ends
    with the last reader, and follows a change of owner. A reader of a session on this node costs nothing here.

    live: the sessions that this node runs. Implements `roost.kernel.delta_hub.Audience`.
    """

    def __init__(self, store: Store, hub: Hub, peers: Peers, *, node: str, live: Container[str]) -> None:
        self.store = store
        self.hub = hub
        self.peers = peers
        self.node = node
        self.live = live
        self._links: dict[str, _Link] = {}
        self._nodes: dict[str, NodeInfo] = {}
        self._looked = float("-inf")
        self._looking: asyncio.Task[None] | None = None

    def joined(self, session: str) -> None:
        link = self._links.get(session)
        if link is None:
            link = self._links[session] = _Link(self, session)
        link.readers += 1
        link.poke()

    def left(self, session: str) -> None:
        link = self._links[session]
        link.readers -= 1
        if not link.readers:
            del self._links[session]
            link.close()

    async def close(self) -> None:
        tasks = [link.task for link in self._links.values() if link.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def alone(self) -> bool:
        """Return whether no other node was alive a moment ago."""
        return not self._nodes and time.monotonic() - self._looked < _NODES_SECONDS

    async def owner(self, session: str) -> NodeInfo | None:
        """Return the living other node that runs the session and can be asked; None without one. Raises `NotFound` and
        `StoreFailed`."""
        if time.monotonic() - self._looked >= _NODES_SECONDS:
            await self._look()
        if not self._nodes:
            return None
        owner = (await self.store.sessions.get(session)).owner
        if owner is None or owner == self.node:
            return None
        if owner not in self._nodes:  # a new node
            await self._look()
        found = self._nodes.get(owner)
        return found if found is not None and found.alive and found.card.url is not None else None

    async def _look(self) -> None:
        """Read the list of nodes. One query serves all concurrent callers."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._ask())
        await asyncio.shield(self._looking)

    async def _ask(self) -> None:
        nodes = await self.store.dispatch.nodes()
        self._nodes = {node.card.id: node for node in nodes if node.card.id != self.node}
        self._looked = time.monotonic()


class _Link:
    """The upstream of one session. Its task runs while another node is known to run the session."""

    def __init__(self, links: Links, session: str) -> None:
        self.readers = 0
        self.task: asyncio.Task[None] | None = None
        self._links = links
        self._session = session
        self._poked = False
        self._stop: Callable[[], None] = links.store.changes.watch(self._changed, session=session)

    def poke(self) -> None:
        """Check whether the session now runs on another node."""
        if self._session in self._links.live or self._links.alone():
            return
        self._poked = True
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._run(), name=f"deltas of {self._session}")

    def close(self) -> None:
        self._stop()
        if self.task is not None:
            self.task.cancel()
        self._links.hub.forget(self._session)

    def _changed(self, change: Change) -> None:
        if change.records is None:  # another node wrote
            self.poke()

    async def _run(self) -> None:
        failures = 0
        while self._poked or failures:
            self._poked = False
            try:
                owner = await self._links.owner(self._session)
                if owner is not None:
                    await self._follow(owner)
                    self._poked = True  # it left that node: look for the new owner
                else:
                    self._links.hub.forget(self._session)
                failures = 0
            except NotFound:
                return
            except RoostError as error:
                log.debug("session %s: no deltas of its node: %s", self._session, error)
                failures = min(failures + 1, len(_PAUSES))
                await asyncio.sleep(_PAUSES[failures - 1])

    async def _follow(self, owner: NodeInfo) -> None:
        """Relay deltas until the session leaves that node, or runs here. After a broken connection the deltas stay: the
        same step is sent again from its beginning. Raises `PeerFailed`, `StoreFailed`."""
        hub = self._links.hub
        async with contextlib.aclosing(self._links.peers.deltas(owner, self._session)) as batches:
            async for batch in batches:
                if self._session in self._links.live:
                    return
                for piece in batch:
                    if isinstance(piece, Delta):
                        hub.feed(self._session, piece)
                    else:
                        hub.forget(self._session)
