"""Skills, at the seams of the loop."""

from __future__ import annotations

import time
from collections.abc import Sequence

from roost.agent.feature import CallEnd, Feature
from roost.agent.session import Session
from roost.agent.state import Call
from roost.features.skills.events import ChooseSkillsInput, SkillsChosen
from roost.features.skills.session_skills import TOOLS, CallSkills, judge, note_at_turn, pin_question, uses_skills
from roost.log.protocols import Delivery, InboxItem
from roost.policy.gate import GateCall, Verdict
from roost.tools.base import ToolContext


def _choose(session: Session, item: InboxItem) -> None:
    order = item.input
    assert isinstance(order, ChooseSkillsInput)
    session.log.note(SkillsChosen(at=time.time(), names=order.names), consume=item.id)


class Skills(Feature):
    """Tell the model of its skills as a turn begins, and ask a person before it uses one that nobody has accepted."""

    takes = {ChooseSkillsInput: _choose}

    def used(self, session: Session) -> bool:
        return uses_skills(session.spec)

    async def enter_turn(self, session: Session) -> None:
        await note_at_turn(session)

    async def after_gate(self, session: Session, call: GateCall, verdict: Verdict) -> Verdict:
        if call.tool not in TOOLS:
            return verdict
        return await judge(session, call, verdict)

    def asks(self, session: Session, call: Call, reason: str) -> Sequence[Delivery]:
        pin_question(session, call)
        return ()

    def equip(self, session: Session, call: Call, context: ToolContext) -> None:
        if call.call.name in TOOLS:
            context.give(CallSkills(session, call.call.id))

    def call_ends(self, session: Session, end: CallEnd) -> None:
        if (skills := end.context.given(CallSkills)) is not None:
            skills.settle(ok=end.outcome == "ok")


FEATURE = Skills()
