"""Fold `session.imported` into a session's state: its log so far comes from another installation."""

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
"""Fields reset by an import, because they belong to the source: open work, promises, grants, costs and files on its
disk. All other fields belong to the conversation."""


def take_imported(state: State) -> None:
    fresh = State()
    for name in _OF_THERE:
        setattr(state, name, getattr(fresh, name))
    for one in state.checkpoints:
        one.files = one.files_in = one.of = None
