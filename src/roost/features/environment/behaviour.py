"""Tell the model of its environment, at the seams of the loop."""

from __future__ import annotations

from roost.agent.feature import Feature
from roost.agent.session import Session
from roost.features.environment.surroundings import note_at_turn


class Environment(Feature):
    """Note the time and the file names as a turn begins."""

    def used(self, session: Session) -> bool:
        return bool(session.spec.environment)

    async def enter_turn(self, session: Session) -> None:
        await note_at_turn(session)


FEATURE = Environment()
