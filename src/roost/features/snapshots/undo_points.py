"""Undo points: snapshots of the private files, and their restore. The intent of a call names the undo point before it.
What must be undone depends on the state alone, so after a crash the next owner repeats the restore."""

from __future__ import annotations

import logging
import time
from typing import NamedTuple

from roost.agent.feature import CallStart
from roost.agent.outcomes import UNDONE
from roost.agent.session import Session
from roost.agent.state import Call
from roost.errors import RoostError
from roost.features.snapshots.events import WorkspaceRestored, WorkspaceSaved
from roost.features.snapshots.state import SnapshotState
from roost.log.content import Text
from roost.tools.base import Tool
from roost.workspace.manifest import SnapshotDamaged
from roost.workspace.snapshot_sync import SyncedFolder
from roost.workspace.snapshots import Saved

log = logging.getLogger("roost.files")
_NOT_UNDONE = "[the files of the workspace could not be put back to what they were before this call: {}]"


class Before(NamedTuple):
    """The undo point before a call. undo: as in `ToolStarted`. problem: why there is none although there should be."""

    undo: str | None = None
    problem: str = ""


def writable_files(session: Session, tool: Tool) -> SyncedFolder | None:
    """Return the private files if a call of this tool may change them."""
    return session.means.files if tool.files and tool.safety != "read_only" else None


def note_saved(session: Session, saved: Saved) -> None:
    if saved.skipped:
        shown = "; ".join(saved.skipped[:5])
        log.warning("session %s: %d things in its folder are not saved: %s", session.id, len(saved.skipped), shown)
    home = session.means.files is not None and session.means.files.home
    unsaved = not home and session.state.part(SnapshotState).unsaved is not None
    if saved.snapshot is not None and (saved.snapshot != _base(session) or unsaved):
        session.log.note(
            WorkspaceSaved(
                at=time.time(),
                snapshot=saved.snapshot,
                files=saved.files,
                bytes=saved.bytes,
                skipped=len(saved.skipped),
                point="home" if home else "store" if session.spec.points else None,
            )
        )


async def at_turn(session: Session) -> None:
    """Take an undo point as a turn begins. Raises `Interrupted`."""
    turn, files = session.state.turn, session.means.files
    if session.spec.points and files is not None and turn is not None and not turn.steps:
        await take(session, files)


async def before(session: Session, start: CallStart) -> None:
    """Take an undo point before the intent of a call is committed. Raises `Interrupted`."""
    files = writable_files(session, start.tool)
    if files is None or not session.spec.points:
        return
    taken = await take(session, files)
    if session.spec.rollback == "failed":
        start.undo, start.problem = taken


async def take(session: Session, files: SyncedFolder) -> Before:
    """Take a snapshot of the files as an undo point. Raises `Interrupted`."""
    base = _base(session)
    try:
        saved = await session.interrupts.interruptible(lambda: files.save(base, patient=False), steer=False)
    except RoostError as error:
        log.warning("session %s: its files cannot be kept to go back to: %s", session.id, error)
        return Before(None, str(error))
    note_saved(session, saved)
    if saved.snapshot != base:
        await collect(session)
    return Before(saved.snapshot or "")


def needless(session: Session, named: set[str | None]) -> tuple[str, ...]:
    """Return the points that nothing needs besides those that checkpoints name: none if the agent keeps points of its
    own."""
    part = session.state.part(SnapshotState)
    if session.spec.points or part.points_in != "home":
        return ()
    return tuple(one for one in part.points if one not in named)


async def collect(session: Session, *, thorough: bool = False) -> None:
    """Remove the snapshots of this home that the session's state does not name. `thorough`: as `Snapshots.forget`."""
    files, state = session.means.files, session.state
    if files is not None and files.home:
        await files.forget({*state.snapshots}, thorough=thorough)


def _base(session: Session) -> str | None:
    """Return the newest snapshot in the log that is stored where the next one goes."""
    part = session.state.part(SnapshotState)
    if session.means.files is not None and session.means.files.home:
        return part.points[-1] if part.points_in == "home" and part.points else None
    return part.saved


async def roll_back(session: Session, files: SyncedFolder, call: Call, problem: str) -> tuple[Text, ...]:
    """Restore the files after a failed call, before its outcome is noted. Returns a text for the model. If it fails
    now, `undo_pending` does it later."""
    if call.undo is None:
        return (Text(_NOT_UNDONE.format(problem)),) if problem else ()
    try:
        error = await _go_back(session, files, call.undo, call.call.id)
    except RoostError as failed:
        log.error("session %s: its files are not put back yet: %s", session.id, failed)
        return ()
    return (Text(UNDONE if error is None else _NOT_UNDONE.format(error)),)


async def undo_pending(session: Session) -> None:
    """Restore the files before anything else uses them, if a call was cut off or its restore was. Raises
    `ObjectsFailed`."""
    state, files = session.state, session.means.files
    cut = next((one for one in state.calls if one.status == "running" and one.undo is not None), None)
    undo = state.part(SnapshotState).undo if cut is None else cut.undo
    if undo is None or (files is not None and not files.ready):
        return
    call = cut.call.id if cut is not None else None
    if files is None:
        error = "no snapshots are kept here any more"
        session.log.note(WorkspaceRestored(at=time.time(), snapshot=undo or None, call=call, error=error))
        return
    await session.log.flush()  # raises if another node owns the session by now
    await _go_back(session, files, undo, call)


async def _go_back(session: Session, files: SyncedFolder, undo: str, call: str | None) -> str | None:
    """Restore a snapshot. Returns None, or why it can never be restored. Raises `ObjectsFailed`."""
    error = None
    try:
        await files.go_back(undo or None, of=session.state.part(SnapshotState).source)
    except SnapshotDamaged as damaged:
        error = str(damaged)[:500]
        log.error("session %s: its files cannot be put back: %s", session.id, error)
    session.log.note(WorkspaceRestored(at=time.time(), snapshot=undo or None, call=call, error=error))
    return error
