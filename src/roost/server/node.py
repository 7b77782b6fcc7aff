"""The daemon itself: health, agents, shutdown."""

from __future__ import annotations

import time

from roost.server.endpoint import Call, Endpoint, Nothing
from roost.server.replies import Reply, json
from roost.server.shapes import AgentInfo, AgentList, Health, Stopping
from roost.server.version import version


async def health(call: Call[Nothing, Nothing]) -> Reply:
    api = call.api
    status = "stopping" if api.stopping else "ok" if await api.store_works() else "degraded"
    uptime = round(time.monotonic() - api.started, 3)
    body = Health(status=status, version=version(), node=api.runtime.kernel.node, uptime=uptime)
    return json(200 if status == "ok" else 503, body, headers=[(b"cache-control", b"no-store")])


async def agents(call: Call[Nothing, Nothing]) -> Reply:
    return json(200, AgentList(agents=[AgentInfo.of(agent) for agent in call.api.runtime.agents.all()]))


async def shutdown(call: Call[Nothing, Nothing]) -> Reply:
    call.api.on_shutdown()
    return json(202, Stopping())


ENDPOINTS = [
    Endpoint(
        method="GET",
        path="/health",
        summary="Whether the daemon works",
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
