"""Events and inputs of this feature."""

from __future__ import annotations

from typing import Any

from roost.log.events import Event
from roost.log.inputs import Input


class McpOffered(Event, frozen=True, tag="mcp.offered"):
    """The session uses the tools of a server as they are now: its first use, or a person accepted a change. digest: of
    how the server is reached. catalog: digest of its tools. accepted: a person accepted them."""

    server: str
    digest: str
    catalog: str
    tools: int
    revision: str = ""
    accepted: bool = False

    @property
    def line(self) -> str:
        return f"offers {self.tools} tools of the MCP server {self.server}"


class McpFailed(Event, frozen=True, tag="mcp.failed"):
    """A server cannot be used in this turn."""

    server: str
    reason: str

    @property
    def line(self) -> str:
        return f"the MCP server {self.server} cannot be used: {self.reason}"


class McpChanged(Event, frozen=True, tag="mcp.changed"):
    """A server has another tool than the session was offered, and the call waits for a person. definition: digest of
    the new one."""

    server: str
    tool: str
    call: str
    definition: str


class McpAccepted(Event, frozen=True, tag="mcp.accepted"):
    """A person accepted the new definition of a tool. catalog: digest of the tools that it is in."""

    server: str
    tool: str
    definition: str
    catalog: str


class McpAsked(Event, frozen=True, tag="mcp.asked"):
    """A server asks something in the middle of a call, which waits for a person. wants: by key, the parameters of each
    question. state: of a stateless server. arguments: JSON text, those of the call."""

    server: str
    call: str
    wants: dict[str, dict[str, Any]]
    arguments: str
    state: str | None = None


class McpServerAdded(Event, frozen=True, tag="mcp.added"):
    """A person added a server to the session, or removed one: `server` is None then. server: an `McpServer` as JSON."""

    name: str
    server: dict[str, Any] | None = None

    @property
    def line(self) -> str:
        return f"{'removes' if self.server is None else 'adds'} the MCP server {self.name}"


class McpServerInput(Input, frozen=True, tag="mcp.server"):
    """As `McpServerAdded`."""

    name: str
    server: dict[str, Any] | None = None


class McpAcceptInput(Input, frozen=True, tag="mcp.accept"):
    """A person accepts the tools of a server as they are now."""

    server: str


EVENTS = (McpOffered, McpFailed, McpChanged, McpAccepted, McpAsked, McpServerAdded)
INPUTS = (McpServerInput, McpAcceptInput)
