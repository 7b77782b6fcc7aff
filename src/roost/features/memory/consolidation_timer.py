"""The durable timer of the next consolidation. It is set in the commit in which a turn ends or a consolidation begins,
so neither a crash nor sleep loses it."""

from __future__ import annotations

import time

from roost.agent.session import Session
from roost.features.memory.events import TIMER, ConsolidateInput
from roost.features.memory.state import MemoryState
from roost.log import events as ev
from roost.log.protocols import InboxItem, TimerSpec
from roost.memory.rights import Consolidate
from roost.memory.search import Search

AGAIN_SECONDS = 1.0
"""Delay before a consolidation that a crash cut off, or that had to wait, is tried again."""


def settings_of(session: Session) -> Consolidate | None:
    """Return the settings, or None if the session has no memory to consolidate into."""
    memory = session.spec.memory
    return None if memory is None or session.means.find(Search) is None else memory.consolidate


def is_time(session: Session, settings: Consolidate) -> bool:
    """Whether to consolidate now without waiting for idle time: after every `turns` turns. Not after each later turn as
    well: in a quick exchange each attempt would be interrupted, and paid for."""
    return (session.state.turns - session.state.part(MemoryState).consolidated) % settings.turns == 0


def set_timer(session: Session, *, heartbeat: bool = False) -> None:
    """Set, move or clear the timer after a turn or a consolidation. heartbeat: the turn was a heartbeat, which does not
    end the idle time."""
    settings, state = settings_of(session), session.state
    if settings is None or state.turns <= state.part(MemoryState).consolidated:
        disarm(session)
    elif state.turns - state.part(MemoryState).consolidated >= settings.turns:
        arm(session, AGAIN_SECONDS)
    elif heartbeat:
        return
    elif settings.idle is not None:
        arm(session, settings.idle)
    else:
        disarm(session)


def came(session: Session) -> InboxItem | None:
    """Return the firing of the timer as it is set now. Firings of earlier settings are dropped."""
    found: InboxItem | None = None
    for item in list(session.inbox):
        if isinstance(item.input, ConsolidateInput):
            if found is None and session.state.timers.get(TIMER) == item.input.due:
                found = item
            else:
                session.log.drop(item)
    return found


def drop_stale_timer(session: Session, item: InboxItem) -> None:
    """Handle the firing of the timer. If the session is paused or its turn waits, clear the timer, so that no input
    waits in such a session; `consolidation.consolidate_if_due` sets it again."""
    state, order = session.state, item.input
    assert isinstance(order, ConsolidateInput)
    if state.state in ("created", "running") and state.phase != "waiting":
        return
    if state.timers.get(TIMER) == order.due:
        disarm(session, item)
    else:
        session.log.drop(item)


def arm(session: Session, seconds: float) -> None:
    due = session.means.now() + seconds
    session.log.note(ev.TimerSet(at=time.time(), timer=TIMER, due=due))
    session.log.set_timer(TIMER, TimerSpec(TIMER, due, ConsolidateInput(due)))


def disarm(session: Session, fired: InboxItem | None = None) -> None:
    """Clear the timer. fired: its firing, which is consumed."""
    if TIMER in session.state.timers:
        session.log.note(ev.TimerCleared(at=time.time(), timer=TIMER), consume=None if fired is None else fired.id)
        session.log.set_timer(TIMER, None)
