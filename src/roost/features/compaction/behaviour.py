"""Keep the context inside the model's window, at the seams of the loop."""

from __future__ import annotations

import time
from typing import Literal

from roost.agent.feature import Feature
from roost.agent.session import Session
from roost.agent.state import Call
from roost.features.compaction import compact
from roost.features.compaction.events import ContextPinned, PinInput
from roost.features.compaction.ports import OwnLog, OwnPins
from roost.features.compaction.state import CompactionState
from roost.log.protocols import InboxItem
from roost.tools.base import ToolContext


def _pin(session: Session, item: InboxItem) -> None:
    order = item.input
    assert isinstance(order, PinInput)
    session.log.note(ContextPinned(at=time.time(), key=order.key, text=order.text, by=order.by), consume=item.id)


class Compaction(Feature):
    """Compact the context when it is full or a person orders it. The log keeps every message."""

    takes = {PinInput: _pin}

    async def between_turns(self, session: Session) -> None:
        if session.state.part(CompactionState).compact and not session.interrupts.stopping:
            await compact.compact_now(session)

    async def before_model(self, session: Session) -> Literal["again"] | None:
        modelled = await compact.compact_if_full(session)
        return "again" if modelled and session.interrupts.cause(steer=True) is not None else None

    def overflowed(self, session: Session) -> bool:
        return compact.shorten(session)

    def equip(self, session: Session, call: Call, context: ToolContext) -> None:
        context.give(OwnLog(session))
        context.give(OwnPins(session, context))


FEATURE = Compaction()
