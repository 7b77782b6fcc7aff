"""What it means to a session's state that its log so far came from elsewhere."""

from __future__ import annotations

from roost.agent.state import State

_OF_THERE = (
    "turn",
    "open_step",
    "calls",
    "timers",
    "usage",
    "seconds",
    "saved",
    "unsaved",
    "points",
    "points_in",
    "undo",
    "source",
    "compact",
    "compacting",
    "consolidating",
    "children",
    "jobs",
    "schedules",
    "firing",
    "limited",
    "grants",
)
"""What was under way, was promised, was allowed, was paid for, and lies on a disk, there. All else is the
conversation's."""


def take_imported(state: State) -> None:
    fresh = State()
    for name in _OF_THERE:
        setattr(state, name, getattr(fresh, name))
    for one in state.checkpoints:
        one.files = one.files_in = one.of = None
