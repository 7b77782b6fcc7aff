"""Let a node find the agents that the store keeps."""

from __future__ import annotations

from roost.agent.definition import Agent
from roost.authority import current
from roost.features.definitions.definitions import Definitions
from roost.kernel.node_feature import Host, NodeFeature


class DefinitionsDuties(NodeFeature):
    """Answer a node that looks for an agent it has no file of."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.definitions = Definitions(host.store.documents)
        host.agents.elsewhere = self._find

    async def _find(self, name: str) -> Agent | None:
        who = current()
        spec = await self.definitions.open_agent(name, owner=who.account if who.confined else None)
        return None if spec is None else Agent.of(spec)


NODE = DefinitionsDuties
