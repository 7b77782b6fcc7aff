"""Fold the branches of a log into a session's state: rollback, fork and import."""

from __future__ import annotations

import msgspec

from roost.agent.state import Kept, State
from roost.log import events as ev
from roost.log.content import Usage

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
    "grants",
)
"""Fields reset by an import, because they belong to the source: open work, promises, grants, costs and files on its
disk. All other fields belong to the conversation."""


def take_imported(state: State) -> None:
    """Fold `session.imported`: the log so far comes from another installation."""
    fresh = State()
    for name in _OF_THERE:
        setattr(state, name, getattr(fresh, name))
    for one in state.checkpoints:
        one.files = one.files_in = one.of = None


def take_travel(state: State, event: ev.SessionRolledBack | ev.SessionForked) -> None:
    """Fold a rollback or a fork. A rollback also restores fields from the state before it (`roost.agent.rewind`)."""
    if isinstance(event, ev.SessionRolledBack):
        state.rolled, state.rolled_by = state.seq, event.input
        if event.files is not None:
            state.undo, state.source = event.files, None
        return
    state.state, state.reason, state.usage, state.seconds = "created", None, Usage(cost=0), 0.0
    state.checkpoints = [_inherited(one, event.source) for one in state.checkpoints if one.seq not in event.dropped]
    state.timers, state.rolled, state.rolled_by = {}, 0, 0
    state.compact, state.consolidating = False, 0
    state.grants = []  # a person allowed them in the source only
    state.children, state.family, state.jobs = {}, None, {}
    state.points, state.points_in, state.unsaved = [], None, None
    state.base = state.seq
    in_store = event.files_in == "store"
    state.saved = (event.files or None) if in_store else None
    state.undo, state.source = (None, None) if in_store or event.files is None else (event.files, event.source)


def _inherited(one: Kept, source: str) -> Kept:
    if one.files_in != "home" or not one.files or one.of is not None:
        return one
    return msgspec.structs.replace(one, of=source)
