"""When a session is asked next what is worth keeping of its turns: a durable timer, set in the commit in which a turn
ends or the question begins, so that neither a crash nor sleep loses it."""

from __future__ import annotations

import time

from roost.agent.session import LiveSession
from roost.log import events as ev
from roost.log.inputs import ConsolidateInput
from roost.log.protocols import InboxItem, TimerSpec
from roost.memory.rights import Consolidate

TIMER = "memory:consolidation"
AGAIN_SECONDS = 1.0
"""After which a question is asked again that a crash cut off, or that had to wait."""


def settings_of(session: LiveSession) -> Consolidate | None:
    """None where it cannot remember."""
    memory = session.spec.memory
    return None if memory is None or session.means.memory is None else memory.consolidate


def is_time(session: LiveSession, settings: Consolidate) -> bool:
    """Whether it is asked at once, rest or none: after every so many turns, and not after each from then on, which in
    a quick exchange would be cut off, and paid for, each time."""
    return (session.state.turns - session.state.consolidated) % settings.turns == 0


def tend(session: LiveSession, *, heartbeat: bool = False) -> None:
    """A turn has ended, a `heartbeat` or one in which somebody spoke, or the question is over: set, move or clear the
    timer. To a heartbeat the session is left alone as before."""
    settings, state = settings_of(session), session.state
    if settings is None or state.turns <= state.consolidated:
        disarm(session)
    elif state.turns - state.consolidated >= settings.turns:
        arm(session, AGAIN_SECONDS)
    elif heartbeat:
        return
    elif settings.idle is not None:
        arm(session, settings.idle)
    else:
        disarm(session)


def came(session: LiveSession) -> InboxItem | None:
    """The firing of the timer as it is set now. Those of earlier settings are dropped."""
    found: InboxItem | None = None
    for item in list(session.inbox):
        if isinstance(item.input, ConsolidateInput):
            if found is None and session.state.timers.get(TIMER) == item.input.due:
                found = item
            else:
                session.drop(item)
    return found


def put_off(session: LiveSession, item: InboxItem, due: float) -> None:
    """It came due. Where nothing can be asked, in a session that is paused or in a turn that waits, it is not set any
    more, so that nothing waits in such a session; `consolidating.at_rest` sets it again."""
    state = session.state
    if state.state in ("created", "running") and state.phase != "waiting":
        return
    if state.timers.get(TIMER) == due:
        disarm(session, item)
    else:
        session.drop(item)


def arm(session: LiveSession, seconds: float) -> None:
    due = session.means.now() + seconds
    session.note(ev.TimerSet(at=time.time(), timer=TIMER, due=due))
    session.set_timer(TIMER, TimerSpec(TIMER, due, ConsolidateInput(due)))


def disarm(session: LiveSession, fired: InboxItem | None = None) -> None:
    """`fired`: it has come due, and there is nothing to ask."""
    if TIMER in session.state.timers:
        session.note(ev.TimerCleared(at=time.time(), timer=TIMER), consume=None if fired is None else fired.id)
        session.set_timer(TIMER, None)
