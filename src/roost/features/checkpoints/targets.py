"""Check the label of a new checkpoint, and find the position of the log that a caller names."""

from __future__ import annotations

from roost.agent.state import State
from roost.errors import Conflict, Invalid, NotFound
from roost.features.checkpoints.api import LABEL, Target
from roost.features.checkpoints.state import CheckpointState, Kept
from roost.kernel.labels import ONE_LINE, is_one_line
from roost.log.session_info import SessionInfo


def check_label(label: str) -> None:
    """Check a checkpoint's label: it is also a part of an address, and positions are numbers. Raises `Invalid`
    (`bad_label`)."""
    if not is_one_line(label, LABEL) or label.isdecimal() or "/" in label or label in (".", ".."):
        raise Invalid(
            f"a checkpoint's label has 1 to {LABEL} characters, is not a number and has no `/`, {ONE_LINE}",
            code="bad_label",
        )


def checkpoint_at(session: str, now: State, target: Target) -> Kept:
    """Return the checkpoint with this position or label, the newest of several. Raises `NotFound` (`no_checkpoint`)."""
    for one in reversed(now.part(CheckpointState).checkpoints):
        if target in (one.seq, one.label):
            return one
    raise NotFound(
        f"session {session!r} has no checkpoint {target!r}; `roost checkpoints` lists them", code="no_checkpoint"
    )


def position_of(info: SessionInfo, now: State, target: Target | None, *, most: int) -> tuple[int, str | None]:
    """Return a position, or that of a checkpoint's label, or of the newest checkpoint that was not made for a rollback
    or a fork; and the words that named it, unless it was a position. most: the largest position. Raises `NotFound`,
    `Conflict` (`no_checkpoint`), `Invalid` (`no_position`)."""
    if isinstance(target, int):
        return checked(info, target, most), None
    if target is not None:
        return checkpoint_at(info.id, now, target).seq, f"label {target}"
    for one in reversed(now.part(CheckpointState).checkpoints):
        if one.cause not in ("rollback", "fork"):
            return one.seq, "newest"
    raise Conflict(
        f"session {info.id!r} has no checkpoint: give a position of its log (`roost logs`)", code="no_checkpoint"
    )


def checked(info: SessionInfo, position: int, most: int) -> int:
    """Return the position. Raises `Invalid` (`no_position`) when it is not from 1 to `most`."""
    if not 1 <= position <= most:
        there = f"its log ends at {info.head}; choose from 1 to {most}" if most >= 1 else "it has only begun"
        raise Invalid(f"session {info.id!r} cannot go to position {position}: {there}", code="no_position")
    return position


def parsed(target: Target) -> Target:
    """Return the target that a part of an address or of a query names: there a position is a text, too."""
    return int(target) if isinstance(target, str) and target.isdecimal() and len(target) < 19 else target
