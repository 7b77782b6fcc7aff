"""Fold events of checkpoints into a session's state, and find the files that belong to a position of the log. What a
rollback restores is in `roost.agent.rewind`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from roost.agent.state import State
from roost.agent.state_parts import StatePart
from roost.features.checkpoints.events import CheckpointCause, CheckpointDropped, CheckpointMade
from roost.features.snapshots.state import SnapshotState
from roost.log import events as ev

OWN_FOLDER = "the session works in a folder of its user's, of which nothing is kept"
ELSEWHERE = "the snapshot of the files was kept with the session that this one was forked from, and is there no more"
NOT_KEPT = "no snapshot of the files is kept from that position, nor from before it"
OLDER = "no snapshot of the files was made at that position: they are those of the newest one before it"

FAILED = "the files could not be kept with that checkpoint (its event says why): they are those of the newest before it"


class Files(NamedTuple):
    """Files part of a checkpoint, rollback or fork. why_not: why there is no snapshot, or only an older one."""

    files: str | None = None
    files_in: Literal["home", "store"] | None = None
    why_not: str | None = None


class Kept(msgspec.Struct):
    """A checkpoint. files: as in `CheckpointMade`. turns, steps: counters of the session at that point. of: the session
    in whose home the files are, if that is a session from which this one was forked."""

    seq: int
    at: float
    cause: CheckpointCause
    label: str | None = None
    files: str | None = None
    files_in: Literal["home", "store"] | None = None
    turns: int = 0
    steps: int = 0
    of: str | None = None


class CheckpointState(StatePart):
    """checkpoints: newest last. rolled: position of the newest rollback; 0 = none. rolled_by: id of the input that
    asked for it."""

    checkpoints: list[Kept] = []
    rolled: int = 0
    rolled_by: int = 0

    @property
    def last(self) -> Kept | None:
        """The newest checkpoint."""
        return self.checkpoints[-1] if self.checkpoints else None

    @property
    def snapshots(self) -> list[str]:
        return [one.files for one in self.checkpoints if one.files]

    def shared_snapshots(self, undo: Sequence[str]) -> Sequence[str]:
        return [one.files for one in self.checkpoints if one.files and one.files_in == "store"]

    def holders(self, files: str | None) -> list[str]:
        """Return the sources of this fork that may hold a snapshot."""
        return [one.of for one in self.checkpoints if one.files == files and one.of is not None]


def files_for_position(now: State, then: State, to: int, where: Literal["home", "store"]) -> Files:
    """Return the files at position `to`, where the state was `then`; if no snapshot is kept there, those of the newest
    kept snapshot before it."""
    checkpoints, before = now.part(CheckpointState).checkpoints, then.part(SnapshotState)
    kept = [one for one in checkpoints if one.files is not None and one.files_in == where and one.seq <= to]
    if kept and kept[-1].seq == to:
        return Files(kept[-1].files, where)
    if not then.steps:  # no call has run yet that could have made a file
        return Files("", where)
    if where == "store":
        return Files(before.saved or "", where, OLDER if before.unsaved is not None else None)
    failed = any(one.seq == to and one.files is None for one in checkpoints)
    why = FAILED if failed else OLDER
    there = {*now.part(SnapshotState).points, *(one.files for one in checkpoints if one.files_in == "home")}
    if before.points_in == "home" and before.points and before.points[-1] in there:
        return Files(before.points[-1], where, why)
    return Files(kept[-1].files, where, why) if kept else Files(why_not=NOT_KEPT)


def take_checkpoint(state: State, event: CheckpointMade | CheckpointDropped) -> None:
    part = state.part(CheckpointState)
    if isinstance(event, CheckpointDropped):
        part.checkpoints = [one for one in part.checkpoints if one.seq != event.checkpoint]
        files = state.part(SnapshotState)
        files.points = [one for one in files.points if one not in event.points]
        return
    made = Kept(
        state.seq, event.at, event.cause, event.label, event.files, event.files_in, state.turns, state.steps
    )  # fmt: skip
    part.checkpoints = [*(one for one in part.checkpoints if one.seq not in event.dropped), made]


def _rolled_back(state: State, event: ev.SessionRolledBack) -> None:
    part = state.part(CheckpointState)
    part.rolled, part.rolled_by = state.seq, event.input


def _forked(state: State, event: ev.SessionForked) -> None:
    part = state.part(CheckpointState)
    part.checkpoints = [_inherited(one, event.source) for one in part.checkpoints if one.seq not in event.dropped]
    part.rolled, part.rolled_by = 0, 0


def _inherited(one: Kept, source: str) -> Kept:
    if one.files_in != "home" or not one.files or one.of is not None:
        return one
    return msgspec.structs.replace(one, of=source)


def _imported(state: State, event: ev.SessionImported) -> None:
    for one in state.part(CheckpointState).checkpoints:
        one.files = one.files_in = one.of = None


PART = CheckpointState
FOLDS = {CheckpointMade: take_checkpoint, CheckpointDropped: take_checkpoint}
WATCHES = {ev.SessionRolledBack: _rolled_back, ev.SessionForked: _forked, ev.SessionImported: _imported}
