"""The gateway of coding agents, at the seams of the node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.kernel.node_feature import Host, NodeFeature
from roost.sandbox.backend import SandboxSpec

if TYPE_CHECKING:
    from roost.features.coding_agents.gateway import NodeGateway


class CodingAgentDuties(NodeFeature):
    """Give sessions the gateway, and their sandboxes the programs. It is made for the first session that has a program,
    or an agent of a framework."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._gateway: NodeGateway | None = None

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        if spec.program is not None or spec.framework is not None:
            from roost.features.coding_agents.ports import Gateway

            resources.give(self._made(), Gateway)

    def furnish(self, spec: AgentSpec, sandbox: SandboxSpec) -> SandboxSpec:
        if spec.program is None and spec.framework is None:
            return sandbox
        gateway = self._made()
        own = gateway.folders(spec.program) if spec.program is not None else ()
        reads = (*sandbox.reads, *own)
        space = sandbox.address_bytes if spec.program is None else None
        door = gateway.door_of(sandbox.session)
        return msgspec.structs.replace(sandbox, reads=reads, gateway=door, address_bytes=space)

    async def close(self) -> None:
        if self._gateway is not None:
            await self._gateway.close()

    def _made(self) -> NodeGateway:
        from roost.features.coding_agents.gateway import NodeGateway

        if self._gateway is None:
            self._gateway = NodeGateway(self.host.http)
        return self._gateway


NODE = CodingAgentDuties
