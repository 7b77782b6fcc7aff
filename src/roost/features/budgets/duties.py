"""The ledger, at the seams of the node."""

from __future__ import annotations

from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.features.budgets.ports import Ledger
from roost.kernel.node_feature import NodeFeature


class BudgetDuties(NodeFeature):
    """Give sessions the ledger of the node."""

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        resources.give(self.host.model_pool, Ledger)


NODE = BudgetDuties
