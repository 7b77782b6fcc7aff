"""The model for stalled turns, at the seams of the node."""

from __future__ import annotations

from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.features.stalls.ports import StrongerModel
from roost.kernel.node_feature import NodeFeature


class StallDuties(NodeFeature):
    """Give sessions the model that their agent names for stalled turns."""

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        if spec.stall.model is not None:
            resources.give(StrongerModel(self.host.resources.named(spec.stall.model)))


NODE = StallDuties
