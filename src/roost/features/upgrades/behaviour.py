"""Move a session to another version of its agent, between turns. From the next wake, on any node that fits its new
needs, it runs that version."""

from __future__ import annotations

import time

from roost.agent.feature import Feature
from roost.agent.session import Session
from roost.features.upgrades.events import MoveInput, SessionMoved
from roost.log.protocols import InboxItem, Moved


def _move(session: Session, item: InboxItem) -> None:
    order = item.input
    if not isinstance(order, MoveInput) or session.state.turn is not None:
        return
    moved = SessionMoved(
        at=time.time(), version=order.version, spec=order.spec, input=item.id, source=order.source
    )  # fmt: skip
    session.log.note(moved, consume=item.id)
    session.log.move(Moved(order.version, order.needs))
    session.interrupts.shut_down(cut=False)


class Upgrades(Feature):
    """Change the agent's version between turns, and let go of a session whose resources have changed."""

    takes = {MoveInput: _move}

    async def between_turns(self, session: Session) -> None:
        if session.outdated and session.state.turn is None:
            session.interrupts.shut_down(cut=False)


FEATURE = Upgrades()
