"""Fold events of checkpoints into a session's state, and find the files that belong to a position of the log. What a
rollback restores is in `roost.agent.rewind`."""

from __future__ import annotations

from typing import Literal, NamedTuple

from roost.agent.state import Kept, State
from roost.features.checkpoints.events import CheckpointDropped, CheckpointMade

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


def files_for_position(now: State, then: State, to: int, where: Literal["home", "store"]) -> Files:
    """Return the files at position `to`, where the state was `then`; if no snapshot is kept there, those of the newest
    kept snapshot before it."""
    kept = [one for one in now.checkpoints if one.files is not None and one.files_in == where and one.seq <= to]
    if kept and kept[-1].seq == to:
        return Files(kept[-1].files, where)
    if not then.steps:  # no call has run yet that could have made a file
        return Files("", where)
    if where == "store":
        return Files(then.saved or "", where, OLDER if then.unsaved is not None else None)
    failed = any(one.seq == to and one.files is None for one in now.checkpoints)
    why = FAILED if failed else OLDER
    there = {*now.points, *(one.files for one in now.checkpoints if one.files_in == "home")}
    if then.points_in == "home" and then.points and then.points[-1] in there:
        return Files(then.points[-1], where, why)
    return Files(kept[-1].files, where, why) if kept else Files(why_not=NOT_KEPT)


def take_checkpoint(state: State, event: CheckpointMade | CheckpointDropped) -> None:
    if isinstance(event, CheckpointDropped):
        state.checkpoints = [one for one in state.checkpoints if one.seq != event.checkpoint]
        state.points = [one for one in state.points if one not in event.points]
        return
    made = Kept(
        state.seq, event.at, event.cause, event.label, event.files, event.files_in, state.turns, state.steps
    )  # fmt: skip
    state.checkpoints = [*(one for one in state.checkpoints if one.seq not in event.dropped), made]


FOLDS = {CheckpointMade: take_checkpoint, CheckpointDropped: take_checkpoint}
