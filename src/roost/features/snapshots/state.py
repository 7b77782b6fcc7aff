"""Fold events of file snapshots into a session's state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from roost.agent.state import State
from roost.agent.state_parts import StatePart
from roost.features.snapshots.events import WorkspaceRestored, WorkspaceSaved, WorkspaceUnsaved
from roost.log import events as ev

POINTS = 32
"""Undo points that a session keeps: the newest ones."""


class SnapshotState(StatePart):
    """saved: last snapshot of the private files in the shared object store. unsaved: why the files differ from it.
    points: undo points, newest last, stored in `points_in`. undo: snapshot that the files must be put back to before
    anything else (after a failed call, a rollback or a fork); the empty string means no files. source: the session
    that made that snapshot, if this one is a fork of it."""

    saved: str | None = None
    unsaved: str | None = None
    points: list[str] = []
    points_in: Literal["home", "store"] | None = None
    undo: str | None = None
    source: str | None = None

    @property
    def snapshots(self) -> list[str]:
        return [*self.points, *([self.undo] if self.undo else [])]

    def shared_snapshots(self, undo: Sequence[str]) -> Sequence[str]:
        named = [] if self.points_in == "home" else [*undo, *self.snapshots]
        return [*named, *([self.saved] if self.saved else [])]

    @property
    def files_unsaved(self) -> bool:
        return self.unsaved is not None

    @property
    def files_to_restore(self) -> bool:
        return self.undo is not None


def _saved(state: State, event: WorkspaceSaved) -> None:
    if event.point != "home":
        part = state.part(SnapshotState)
        part.saved, part.unsaved = event.snapshot, None
    if event.point is not None:
        _point(state, event.snapshot, event.point)


def _restored(state: State, event: WorkspaceRestored) -> None:
    call = state.call(event.call) if event.call is not None else None
    if call is not None:
        call.undo, call.undone = None, event.error is None
    part = state.part(SnapshotState)
    part.undo, part.source = None, None
    if event.error is None and event.snapshot is not None and part.points_in is not None:
        _point(state, event.snapshot, part.points_in)
    if event.error is None and part.points_in != "home":
        part.saved = event.snapshot


def _point(state: State, snapshot: str, where: Literal["home", "store"]) -> None:
    """Add the current content of the files as the newest undo point."""
    part = state.part(SnapshotState)
    known = part.points if part.points_in == where else []
    part.points = [*(one for one in known[-POINTS:] if one != snapshot), snapshot][-POINTS:]
    part.points_in = where


def _unsaved(state: State, event: WorkspaceUnsaved) -> None:
    state.part(SnapshotState).unsaved = None if event.lost else event.reason


def _failed(state: State, event: ev.ToolCompleted) -> None:
    call = state.call(event.call) if event.outcome != "ok" else None
    if call is not None and call.undo is not None:
        state.part(SnapshotState).undo = call.undo


def _rolled_back(state: State, event: ev.SessionRolledBack) -> None:
    if event.files is not None:
        part = state.part(SnapshotState)
        part.undo, part.source = event.files, None


def _forked(state: State, event: ev.SessionForked) -> None:
    part = state.part(SnapshotState)
    part.points, part.points_in, part.unsaved = [], None, None
    in_store = event.files_in == "store"
    part.saved = (event.files or None) if in_store else None
    part.undo, part.source = (None, None) if in_store or event.files is None else (event.files, event.source)


def _imported(state: State, event: ev.SessionImported) -> None:
    state.parts[SnapshotState] = SnapshotState()


PART = SnapshotState
WATCHES = {
    ev.ToolCompleted: _failed,
    ev.SessionRolledBack: _rolled_back,
    ev.SessionForked: _forked,
    ev.SessionImported: _imported,
}
FOLDS = {WorkspaceSaved: _saved, WorkspaceRestored: _restored, WorkspaceUnsaved: _unsaved}
