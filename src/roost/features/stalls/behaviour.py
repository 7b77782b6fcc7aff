"""React to a turn that makes no progress."""

from __future__ import annotations

from roost.agent.feature import Draft, Feature, TurnEnd
from roost.agent.session import Session
from roost.features.stalls import detection
from roost.features.stalls.ports import StrongerModel
from roost.features.stalls.state import StallTurn
from roost.models.request import Model


class Stalls(Feature):
    """Compare the steps of a turn; a hint, more effort, the stronger model or the end follow."""

    async def before_model(self, session: Session) -> TurnEnd | None:
        return detection.next_action(session)

    def model(self, session: Session) -> Model | None:
        turn = session.state.turn
        if turn is None or "model" not in turn.part(StallTurn).trail.actions:
            return None
        stronger = session.means.find(StrongerModel)
        return None if stronger is None else stronger.model

    def shape(self, session: Session, draft: Draft) -> None:
        draft.effort = detection.effort(session)


FEATURE = Stalls()
