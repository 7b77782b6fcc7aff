"""Money limits, at the seams of the loop."""

from __future__ import annotations

from roost.agent.feature import Draft, Feature, TurnEnd
from roost.agent.session import Session
from roost.features.budgets import charging
from roost.log.content import ErrorData


class Budgets(Feature):
    """Charge each model call to the budgets of the turn, the session and its ancestors."""

    async def wake(self, session: Session) -> None:
        await charging.recover_charges(session)

    async def between_turns(self, session: Session) -> None:
        await charging.close(session)

    def shape(self, session: Session, draft: Draft) -> None:
        draft.budgets = charging.budgets(session)

    def spent(self, session: Session) -> None:
        charging.mark_charged(session)

    def failed(self, session: Session, error: ErrorData, refused: str) -> TurnEnd | None:
        match error.code:
            case "budget":
                return TurnEnd("limit", charging.limit_of(refused))
            case "price_unknown":
                return TurnEnd("limit", f"{error.code}: {error.message}")
            case _:
                return None

    async def at_rest(self, session: Session) -> None:
        await charging.close(session)


FEATURE = Budgets()
