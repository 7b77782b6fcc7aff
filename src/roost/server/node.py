"""Endpoints of the daemon itself: health, agents, the other nodes, drain, shutdown."""

from __future__ import annotations

import asyncio
import time

from roost.server.responses import Reply, json
from roost.server.row_handler import Call, Endpoint, Nothing
from roost.server.shapes import AgentInfo, AgentList, Draining, DrainQuery, Health, Life, NodeEntry, NodeList, Stopping
from roost.version import version

_FRESH = [(b"cache-control", b"no-store")]


async def live(call: Call[Nothing, Nothing]) -> Reply:
    return json(200, Life(), headers=_FRESH)


async def health(call: Call[Nothing, Nothing]) -> Reply:
    api = call.api
    status = await api.status()
    body = Health(
        status=status,
        version=version(),
        node=api.runtime.node.id,
        uptime=round(time.monotonic() - api.started, 3),
        live=len(api.runtime.node.live),
        failed=await api.failed(),
        reason=api.reason(status),
    )
    return json(200 if status == "ok" else 503, body, headers=_FRESH)


async def nodes(call: Call[Nothing, Nothing]) -> Reply:
    node = call.api.runtime.node
    found, backlog = await asyncio.gather(node.journal.nodes(), node.journal.backlog())
    entries = [NodeEntry.of(one, this=node.id) for one in found]
    return json(200, NodeList(nodes=entries, waiting=backlog.sessions, waiting_seconds=backlog.seconds))


async def drain(call: Call[Nothing, DrainQuery]) -> Reply:
    node = call.api.runtime.node
    call.api.drain(call.query.grace)
    return json(202, Draining(node=node.id, live=len(node.live)))


async def agents(call: Call[Nothing, Nothing]) -> Reply:
    return json(200, AgentList(agents=[AgentInfo.of(agent) for agent in call.api.runtime.agents.all()]))


async def shutdown(call: Call[Nothing, Nothing]) -> Reply:
    call.api.on_shutdown()
    return json(202, Stopping())


ENDPOINTS = [
    Endpoint(
        method="GET",
        path="/live",
        summary="Whether the process works: if not, start it again",
        handler=live,
        body=Nothing,
        query=Nothing,
        answers={200: Life},
        open=True,
    ),
    Endpoint(
        method="GET",
        path="/nodes",
        summary="The nodes that work on the same store",
        handler=nodes,
        body=Nothing,
        query=Nothing,
        answers={200: NodeList},
    ),
    Endpoint(
        method="POST",
        path="/drain",
        summary="Take no more sessions and let those that run go to other nodes, each after its step in progress",
        handler=drain,
        body=Nothing,
        query=DrainQuery,
        answers={202: Draining},
    ),
    Endpoint(
        method="GET",
        path="/health",
        summary="Whether this node is to be sent requests",
        handler=health,
        body=Nothing,
        query=Nothing,
        answers={200: Health, 503: Health},
        open=True,
    ),
    Endpoint(
        method="GET",
        path="/agents",
        summary="The agents that sessions can be made of",
        handler=agents,
        body=Nothing,
        query=Nothing,
        answers={200: AgentList},
    ),
    Endpoint(
        method="POST",
        path="/shutdown",
        summary="Stop the daemon gracefully",
        handler=shutdown,
        body=Nothing,
        query=Nothing,
        answers={202: Stopping},
    ),
]
