"""The MCP servers of a node, at its seams."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.features.mcp.ports import SessionServers
from roost.kernel.node_feature import NodeFeature

if TYPE_CHECKING:
    from roost.features.mcp.node_servers import NodeServers


class McpDuties(NodeFeature):
    """Give sessions the servers of the node, which keeps them open. Nothing is loaded before the first session uses
    one."""

    @cached_property
    def servers(self) -> NodeServers:
        from roost.features.mcp.node_servers import NodeServers

        resources = self.host.resources
        return NodeServers(
            self.host.store.documents,
            self.host.sealing(),
            home=resources.home_folder,
            process=self.host.sandboxes.process,
            vault=lambda: resources.vault,
        )

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        resources.give(SessionServers(session, resources, lambda: self.servers))

    async def close(self) -> None:
        if "servers" in self.__dict__:
            await self.servers.close()


NODE = McpDuties
