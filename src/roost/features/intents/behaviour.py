"""Choose the intent of a new turn, and ask a person to approve the turn if the intent demands it."""

from __future__ import annotations

from typing import cast

from roost.agent.approvals import ask_person
from roost.agent.feature import Draft, Feature
from roost.agent.session import Session
from roost.agent.state import unheard
from roost.features.intents import choice
from roost.features.intents.state import IntentTurn
from roost.models.request import Intent
from roost.tools.base import Toolbox


class Intents(Feature):
    """Choose what a turn is about, once, as it begins; its model sees the tools that this allows."""

    def used(self, session: Session) -> bool:
        turn = session.state.turn
        return bool(session.spec.intents) or (turn is not None and bool(turn.part(IntentTurn).intent))

    async def enter_turn(self, session: Session) -> None:
        rules, state = session.spec.intents, session.state
        turn = state.turn
        if turn is None or turn.part(IntentTurn).intent or turn.steps:
            return
        text = "\n".join(choice.said_in(entry.message.parts) for entry in unheard(state))
        chosen = choice.note_of(state, rules, session.means.tools, text)
        if chosen is None:
            return
        session.log.note(chosen)
        if turn.gate is not None:
            reason = f"the turn is to {chosen.intent.replace('_', ' ')}, and goes on when you say so"
            ask_person(session, turn.gate, reason, f"intent: {chosen.intent}")

    def tools(self, session: Session) -> Toolbox | None:
        turn, all_tools = session.state.turn, session.means.tools
        tools = None if turn is None else turn.part(IntentTurn).tools
        if tools is None:
            return None
        return {name: all_tools[name] for name in tools if name in all_tools}

    def shape(self, session: Session, draft: Draft) -> None:
        turn = session.state.turn
        if turn is not None and (calls := turn.part(IntentTurn).calls) is not None:
            draft.intent = cast("Intent", calls)


FEATURE = Intents()
