"""Move a session to another version of its agent, between turns. From the next wake, on any node that fits its new
needs, it runs that version."""

from __future__ import annotations

import time

import msgspec

from roost.agent.definition import decode_spec, encode_spec
from roost.agent.feature import Feature
from roost.agent.session import Session
from roost.features.upgrades.events import MoveInput, SessionMoved
from roost.log.protocols import InboxItem, Moved


def _move(session: Session, item: InboxItem) -> None:
    order = item.input
    if not isinstance(order, MoveInput) or session.state.turn is not None:
        return
    version, spec, needs = _target(session, order)
    moved = SessionMoved(at=time.time(), version=version, spec=spec, input=item.id, source=order.source)
    session.log.note(moved, consume=item.id)
    session.log.move(Moved(version, needs))
    session.needs = needs
    session.interrupts.shut_down(cut=False)


def _target(session: Session, order: MoveInput) -> tuple[str, msgspec.Raw, tuple[str, ...]]:
    """Return the version, the definition and the needs that an order leads to. Another node may have changed the
    session since the order was made: its change stays."""
    now = decode_spec(session.state.spec)
    if order.changes is None or now.version == order.base:
        return order.version, order.spec, order.needs
    spec = msgspec.structs.replace(now, **order.changes)
    return spec.version, msgspec.Raw(encode_spec(spec)), order.needs if "model" in order.changes else session.needs


class Upgrades(Feature):
    """Change the agent's version between turns, and let go of a session whose resources have changed."""

    takes = {MoveInput: _move}

    async def between_turns(self, session: Session) -> None:
        if session.outdated and session.state.turn is None:
            session.interrupts.shut_down(cut=False)


FEATURE = Upgrades()
