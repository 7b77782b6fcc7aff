"""The standing rules of agents and users, at the seams of the node."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.features.rules.behaviour import SessionRules
from roost.kernel.node_feature import NodeFeature

if TYPE_CHECKING:
    from roost.features.rules.records import LastingRules


class RuleDuties(NodeFeature):
    """Give each session a way to the rules of its agent and its user. Nothing is read before a tool call."""

    @cached_property
    def rules(self) -> LastingRules:
        """The rules of the store, made when they are first asked for."""
        from roost.features.rules.records import LastingRules

        return LastingRules(self.host.store.documents)

    async def close(self) -> None:
        if "rules" in vars(self):
            self.rules.close()

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        resources.give(SessionRules(lambda: self.rules, resources.account or ""))


NODE = RuleDuties
