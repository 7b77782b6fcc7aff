"""A node itself: health, agents, the other nodes, drain, shutdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol

from msgspec import Meta

from roost.api.shapes import Answer
from roost.operation import GET, POST


class Life(Answer):
    """The process works. This does not check the store."""

    status: Literal["alive"] = "alive"


class Health(Answer):
    """`uptime`: seconds. `degraded`: the store refuses writes, or the node lost its lease and runs nothing until it has
    one again, or several sessions in a row failed on this machine; `reason` says which. `draining`: its sessions go to
    other nodes; `live` ones are still in its memory. `failed`: sessions in state `error`, of all nodes, up to 1,000,
    with damaged ones once they were found."""

    status: Literal["ok", "degraded", "draining", "stopping"]
    version: str
    node: str
    uptime: float
    live: int
    failed: int | None = None
    reason: str | None = None


class NodeEntry(Answer):
    """A node as the store sees it. `this`: it sent this response. `live`: sessions in its memory. `room`: its free
    slots. `beat_at`: its last heartbeat, by the store's clock, in seconds since 1970."""

    id: str
    this: bool
    alive: bool
    draining: bool
    url: str | None
    home: str
    live: int
    room: int
    offers: tuple[str, ...]
    version: str
    format: int
    beat_at: float


class NodeList(Answer):
    """`waiting` sessions have work and no living node, the oldest for `waiting_seconds`."""

    nodes: list[NodeEntry]
    waiting: int
    waiting_seconds: float


class AgentInfo(Answer):
    """`model`: None is the node's default."""

    name: str
    description: str
    model: str | None
    tools: tuple[str, ...]
    permissions: Literal["read_only", "ask", "workspace", "auto", "custom", "all"]
    version: str
    checks: tuple[str, ...] = ()


class AgentList(Answer):
    agents: list[AgentInfo]


class Draining(Answer):
    """`live`: sessions not yet released; `GET /health` shows how many remain."""

    node: str
    live: int
    status: Literal["draining"] = "draining"


class Stopping(Answer):
    status: Literal["stopping"] = "stopping"


def _healthy(health: Health, given: Mapping[str, Any]) -> int:
    return 200 if health.status == "ok" else 503


class NodeApi(Protocol):
    @GET("/live", open=True)
    async def live(self) -> Life:
        """Whether the process works: if not, start it again."""
        ...

    @GET("/nodes", right="operate")
    async def nodes(self) -> NodeList:
        """The nodes that work on the same store."""
        ...

    @POST("/drain", 202, query=("grace",), repeatable=True, right="operate")
    async def drain(self, *, grace: Annotated[float, Meta(ge=0, le=86400)] = 30.0) -> Draining:
        """Take no more sessions and let those that run go to other nodes, each after its step in progress.

        `grace`: seconds that steps in progress get to end before they are cut as by a crash.
        """
        ...

    @GET("/health", (200, 503), status=_healthy, open=True)
    async def health(self) -> Health:
        """Return 200 while this node accepts requests, else 503: the check of a load balancer."""
        ...

    @GET("/agents", right="read")
    async def agents(self) -> AgentList:
        """The agents that sessions can be made of."""
        ...

    @POST("/shutdown", 202, repeatable=True, right="operate")
    async def shutdown(self) -> Stopping:
        """Stop the daemon gracefully."""
        ...
