"""The daemon itself: health, agents, the other nodes, drain, shutdown."""

from __future__ import annotations

import asyncio
import time

from roost.agent.definition import Agent
from roost.api.node import AgentInfo, AgentList, Draining, Health, Life, NodeApi, NodeEntry, NodeList, Stopping
from roost.log.dispatch import NodeInfo
from roost.server.app_state import Api
from roost.version import version


class NodeService(NodeApi):
    def __init__(self, api: Api) -> None:
        self._api = api
        self._node = api.runtime.node

    async def live(self) -> Life:
        return Life()

    async def health(self) -> Health:
        status = await self._api.status()
        return Health(
            status=status,
            version=version(),
            node=self._node.id,
            uptime=round(time.monotonic() - self._api.started, 3),
            live=len(self._node.slots.live),
            failed=await self._api.failed(),
            reason=self._api.reason(status),
        )

    async def nodes(self) -> NodeList:
        found, backlog = await asyncio.gather(self._node.store.dispatch.nodes(), self._node.store.dispatch.backlog())
        entries = [node_entry(node, this=self._node.id) for node in found]
        return NodeList(nodes=entries, waiting=backlog.sessions, waiting_seconds=backlog.seconds)

    async def drain(self, *, grace: float = 30.0) -> Draining:
        self._api.drain(grace)
        return Draining(node=self._node.id, live=len(self._node.slots.live))

    async def agents(self) -> AgentList:
        return AgentList(agents=[agent_info(agent) for agent in self._api.runtime.agents.all()])

    async def shutdown(self) -> Stopping:
        self._api.on_shutdown()
        return Stopping()


def node_entry(node: NodeInfo, *, this: str | None = None) -> NodeEntry:
    """Describe a node. `this`: the id of the node that answers."""
    card = node.card
    return NodeEntry(
        id=card.id,
        this=card.id == this,
        alive=node.alive,
        draining=card.draining,
        url=card.url,
        home=card.home,
        live=card.live,
        room=max(0, card.room),
        offers=card.offers,
        version=card.version,
        format=card.format,
        beat_at=node.beat_at,
    )


def agent_info(agent: Agent) -> AgentInfo:
    """Describe an agent."""
    return AgentInfo(
        name=agent.name,
        description=agent.description,
        model=agent.model,
        tools=agent.tools,
        permissions=agent.permissions,
        version=agent.version,
        checks=agent.python.checks,
    )
