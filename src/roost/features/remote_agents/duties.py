"""The cards of remote agents, at the seams of the node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.kernel.node_feature import Host, NodeFeature

if TYPE_CHECKING:
    from roost.features.remote_agents.cards import Cards


class RemoteAgentDuties(NodeFeature):
    """Give sessions the cards of their remote agents. They are made for the first session that has one."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._cards: Cards | None = None

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        if not spec.remote_agents:
            return
        if self._cards is None:
            from roost.features.remote_agents.cards import Cards

            self._cards = Cards(self.host.store.documents)
        resources.give(self._cards)


NODE = RemoteAgentDuties
