"""The model that writes summaries, at the seams of the node."""

from __future__ import annotations

from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.features.compaction.ports import Summarizer
from roost.kernel.node_feature import NodeFeature


class CompactionDuties(NodeFeature):
    """Give sessions the model that their agent names for summaries."""

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        if spec.compaction.model is not None:
            resources.give(Summarizer(self.host.resources.named(spec.compaction.model)))


NODE = CompactionDuties
