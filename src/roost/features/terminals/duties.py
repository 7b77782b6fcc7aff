"""Let sessions know how many terminals their node runs."""

from __future__ import annotations

from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.features.terminals.room import NodeTerminals
from roost.kernel.node_feature import Host, NodeFeature


class TerminalsDuties(NodeFeature):
    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.room = NodeTerminals()

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        resources.give(self.room)


NODE = TerminalsDuties
