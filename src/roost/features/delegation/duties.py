"""Children and parents, at the seams of the node."""

from __future__ import annotations

from collections.abc import Sequence

from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.agent.session import Session
from roost.features.delegation.child_messages import end_of, order_to, report_to_parent
from roost.features.delegation.children import AgentChildren
from roost.features.delegation.ports import Family
from roost.kernel.node_feature import NodeFeature
from roost.log.protocols import Delivery
from roost.log.session_info import SessionInfo


class DelegationDuties(NodeFeature):
    """Give sessions access to other agents, tell parents of children that failed or were deleted, and stop the
    children of a session that is deleted."""

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        host = self.host
        resources.give(AgentChildren(host.agents, host.store, host.creation, spec), Family)

    def failed(self, session: Session, reason: str) -> Sequence[Delivery]:
        return report_to_parent(session, "error", reason)

    def failed_unread(self, info: SessionInfo, reason: str) -> Sequence[Delivery]:
        return end_of(info, "error", reason)

    def deleted(self, info: SessionInfo, children: Sequence[SessionInfo]) -> Sequence[Delivery]:
        running = [child.id for child in children if child.state != "stopped"]
        return (*end_of(info, "deleted"), *(order_to(child, "stop", "deleted") for child in running))


NODE = DelegationDuties
