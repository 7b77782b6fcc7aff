"""Fold events of file snapshots into a session's state."""

from __future__ import annotations

from typing import Literal

from roost.agent.state import POINTS, State
from roost.features.snapshots.events import WorkspaceRestored, WorkspaceSaved, WorkspaceUnsaved


def _saved(state: State, event: WorkspaceSaved) -> None:
    if event.point != "home":
        state.saved, state.unsaved = event.snapshot, None
    if event.point is not None:
        _point(state, event.snapshot, event.point)


def _restored(state: State, event: WorkspaceRestored) -> None:
    call = state.call(event.call) if event.call is not None else None
    if call is not None:
        call.undo, call.undone = None, event.error is None
    state.undo, state.source = None, None
    if event.error is None and event.snapshot is not None and state.points_in is not None:
        _point(state, event.snapshot, state.points_in)
    if event.error is None and state.points_in != "home":
        state.saved = event.snapshot


def _point(state: State, snapshot: str, where: Literal["home", "store"]) -> None:
    """Add the current content of the files as the newest undo point."""
    known = state.points if state.points_in == where else []
    state.points = [*(one for one in known[-POINTS:] if one != snapshot), snapshot][-POINTS:]
    state.points_in = where


def _unsaved(state: State, event: WorkspaceUnsaved) -> None:
    state.unsaved = None if event.lost else event.reason


FOLDS = {WorkspaceSaved: _saved, WorkspaceRestored: _restored, WorkspaceUnsaved: _unsaved}
