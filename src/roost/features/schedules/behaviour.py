"""Schedules of a session, at the seams of the loop."""

from __future__ import annotations

from roost.agent.feature import Feature
from roost.agent.session import Session
from roost.features.schedules import firing
from roost.features.schedules.events import DueInput, ScheduleInput
from roost.log.protocols import InboxItem


class Schedules(Feature):
    """Begin turns at their times, and pause heartbeats that have nothing to do."""

    takes = {ScheduleInput: firing.order}
    begins = {DueInput: firing.fire}

    async def between_turns(self, session: Session) -> None:
        firing.pause_idle_heartbeats(session)

    def hears(self, session: Session, item: InboxItem) -> None:
        firing.rouse(session)


FEATURE = Schedules()
