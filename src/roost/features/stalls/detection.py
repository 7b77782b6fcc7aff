"""Detect a turn that makes no progress, and react. Both depend on the state alone, so a crash in between changes
nothing."""

from __future__ import annotations

import time
from typing import NamedTuple

from roost.agent.feature import TurnEnd
from roost.agent.options import Action, Stall
from roost.agent.session import Session
from roost.features.stalls.events import LoopStalled
from roost.features.stalls.state import StallTurn, Trail
from roost.log import events as ev
from roost.models.request import EFFORTS, Effort

_CYCLES = (2, 3, 4)
"""Lengths of cycles to detect, in steps."""


class Found(NamedTuple):
    kind: ev.StallKind
    times: int


def found(trail: Trail, stall: Stall) -> Found | None:
    if stall.errors is not None and trail.errors >= stall.errors:
        return Found("errors", trail.errors)
    if stall.poor is not None and trail.poor >= stall.poor:
        return Found("poor", trail.poor)
    if not trail.stale:
        return None
    steps = trail.steps
    if stall.repeats is not None and _cycled(steps, 1, stall.repeats):
        return Found("repeat", stall.repeats)
    if stall.cycles is not None and any(_cycled(steps, length, stall.cycles) for length in _CYCLES):
        return Found("cycle", stall.cycles)
    if stall.stale is not None and trail.stale >= stall.stale:
        return Found("no_progress", trail.stale)
    return None


def next_action(session: Session) -> TurnEnd | None:
    """Take the next action if the turn has stalled, before a model call. Returns how the turn ends, if it does."""
    state, stall = session.state, session.spec.stall
    turn = state.turn
    if turn is None or state.open_step is not None:
        return None
    trail = turn.part(StallTurn).trail
    if (what := found(trail, stall)) is None:
        return None
    action: Action | None = next((one for one in stall.actions[len(trail.actions) :]), None)
    if action is None:
        return None
    hint = _hint(what) if action != "end" else ""
    kind, count, now = what.kind, what.times, time.time()
    session.log.note(
        LoopStalled(at=now, turn=turn.number, step=state.steps, kind=kind, count=count, action=action, hint=hint)
    )
    return TurnEnd("limit", f"stalled: {_WORDS[what.kind].format(what.times)}") if action == "end" else None


def effort(session: Session) -> Effort | None:
    """Return the effort for the next model call: the agent's, or one level more after a stall."""
    turn, given = session.state.turn, session.spec.effort
    if turn is None or "effort" not in turn.part(StallTurn).trail.actions:
        return given
    return EFFORTS[min(EFFORTS.index(given or "medium") + 1, len(EFFORTS) - 1)]


_WORDS: dict[ev.StallKind, str] = {
    "repeat": "the same calls had the same results {} times in a row",
    "cycle": "the same few steps came {} times over",
    "errors": "no call went well in {} steps",
    "poor": "by your own word it went badly {} times in a row",
    "no_progress": "nothing new came in {} steps",
}


def _hint(what: Found) -> str:
    return (
        f"[You are not getting anywhere: {_WORDS[what.kind].format(what.times)}. Do not do that again. Say what you"
        " have learned, then try another way; if there is none, say so and stop.]"
    )


def _cycled(steps: list[int], length: int, times: int) -> bool:
    """Whether the last `length` steps occurred `times` times in a row."""
    span = length * times
    return len(steps) >= span and steps[-span:] == steps[-length:] * times
