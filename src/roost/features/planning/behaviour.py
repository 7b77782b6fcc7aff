"""Let tools set the plan of a long task."""

from __future__ import annotations

from roost.agent.feature import Feature
from roost.agent.session import Session
from roost.agent.state import Call
from roost.features.planning.plan import OwnPlans
from roost.tools.base import ToolContext


class Planning(Feature):
    """Give tools the port to the plan."""

    def equip(self, session: Session, call: Call, context: ToolContext) -> None:
        context.give(OwnPlans(session, call.call.id))


FEATURE = Planning()
