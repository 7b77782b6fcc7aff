"""The ports of a session and of a call to MCP servers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from roost.agent.resources import Resources
from roost.agent.session_credentials import SessionCredentials
from roost.tools.base import ToolResult

if TYPE_CHECKING:
    from roost.features.mcp.node_servers import NodeServers, Where


class CallPort(ABC):
    """What a tool of a server does when it is called."""

    @abstractmethod
    async def run(self, arguments: dict[str, Any]) -> ToolResult:
        """Call the tool. Raises `ToolError`, `NeedsPerson`."""


class SessionServers:
    """node: returns the servers of the node, which are loaded at the first use."""

    def __init__(self, session: str, resources: Resources, node: Callable[[], NodeServers]) -> None:
        self._session, self._resources, self._node = session, resources, node

    @property
    def node(self) -> NodeServers:
        return self._node()

    @property
    def where(self) -> Where:
        from roost.features.mcp.node_servers import Where

        means = self._resources
        own = means.find(SessionCredentials)
        folder, account = str(means.workspace.place), means.account
        return Where(self._session, means.sandbox, folder, means.vault, own, account)  # pyright: ignore[reportArgumentType]
