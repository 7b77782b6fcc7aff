"""Tell the model of its environment, at the seams of the loop."""

from __future__ import annotations

from roost.agent.feature import CallEnd, Feature
from roost.agent.session import Session
from roost.features.environment import project_instructions, surroundings


class Environment(Feature):
    """Note the time, the file names and the workspace's instructions as a turn begins; those of folders as calls touch
    them."""

    def used(self, session: Session) -> bool:
        return bool(session.spec.environment)

    async def enter_turn(self, session: Session) -> None:
        await project_instructions.note_at_turn(session)
        await surroundings.note_at_turn(session)

    async def after_call(self, session: Session, end: CallEnd) -> None:
        await project_instructions.find_nearer(session, end)

    def call_ends(self, session: Session, end: CallEnd) -> None:
        project_instructions.note_nearer(session, end)


FEATURE = Environment()
