"""Remote agents at the seams of the loop. What asks them is imported for the first session that has one."""

from __future__ import annotations

from roost.agent.feature import Feature
from roost.agent.session import Session


class RemoteAgents(Feature):
    """Offer a tool for each remote agent."""

    def used(self, session: Session) -> bool:
        return bool(session.spec.remote_agents)

    async def enter_turn(self, session: Session) -> None:
        from roost.features.remote_agents.tool_making import offer

        offer(session)


FEATURE = RemoteAgents()
