"""A session's memory, at the seams of the loop."""

from __future__ import annotations

from roost.agent.feature import CallEnd, Feature
from roost.agent.session import Session
from roost.agent.state import Call, Turn
from roost.features.memory import consolidation, consolidation_timer
from roost.features.memory.events import ConsolidateInput
from roost.features.memory.recall import CallMemory, recall_at_turn
from roost.features.schedules.state import ScheduledTurn
from roost.memory.search import Search
from roost.tools.base import ToolContext


class Memory(Feature):
    """Recall facts as a turn begins, commit what tools remember with their calls, and consolidate at rest."""

    takes = {ConsolidateInput: consolidation_timer.drop_stale_timer}

    async def enter_turn(self, session: Session) -> None:
        await recall_at_turn(session)

    def equip(self, session: Session, call: Call, context: ToolContext) -> None:
        if (search := session.means.find(Search)) is not None:
            context.give(CallMemory(session, search, context))

    def call_ends(self, session: Session, end: CallEnd) -> None:
        if (memory := end.context.given(CallMemory)) is not None:
            memory.settle(ok=end.outcome == "ok")

    def ended(self, session: Session, turn: Turn) -> None:
        firing = turn.part(ScheduledTurn).firing
        consolidation_timer.set_timer(session, heartbeat=firing is not None and firing.heartbeat)

    async def at_rest(self, session: Session) -> None:
        await consolidation.consolidate_if_due(session)


FEATURE = Memory()
