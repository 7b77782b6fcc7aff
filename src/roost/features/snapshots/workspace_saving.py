"""Save and restore a session's files: restored before a turn goes on, saved with the outcome of each call that may
write."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from roost.agent.session import Session
from roost.errors import RoostError, TooLarge
from roost.features.snapshots.events import WorkspaceUnsaved
from roost.features.snapshots.state import SnapshotState
from roost.features.snapshots.undo_points import note_saved, writable_files
from roost.log.content import Text
from roost.tools.base import Tool
from roost.workspace.atomic_edits import recover
from roost.workspace.object_store import ObjectsFailed
from roost.workspace.snapshot_sync import SyncedFolder

log = logging.getLogger("roost.files")
_REST_SECONDS = 5.0
_NOT_SAVED = (
    "[the files of this workspace could not be saved just now; until a later call saves them they are on one machine"
    " alone]"
)


async def restore_files(session: Session) -> None:
    """Restore the files as the last owner left them, before anything runs. Raises `Interrupted`, `ObjectsFailed`."""
    await _settle(session)
    files = session.means.files
    if files is None or files.ready:
        return
    state, part = session.state, session.state.part(SnapshotState)
    lost = await session.interrupts.interruptible(
        lambda: files.wake(session.born, session.log.epoch, part.saved, unsaved=part.unsaved is not None), steer=False
    )
    if lost:
        log.error("session %s: files that could not be saved are lost: it goes on from its last snapshot", session.id)
        reason = "the machine that had them is not this one: the files are those of the last snapshot"
        session.log.note(WorkspaceUnsaved(at=time.time(), reason=reason, lost=True))
    files.dirty = part.unsaved is not None or any(call.status == "running" for call in state.calls)


async def _settle(session: Session) -> None:
    """Finish or undo an edit of several files that a crash cut off, even in a folder that is replaced next."""
    workspace = session.means.workspace
    if workspace.settled or workspace.notes is None:
        return
    workspace.settled = True
    if not workspace.notes.is_dir():  # most sessions change no files: spare them the thread
        return
    try:
        if await asyncio.to_thread(recover, workspace, workspace.notes):
            log.info("session %s: finished a change of its files that a crash had cut off", session.id)
    except (RoostError, OSError) as error:  # the next change tells the model
        log.error("session %s: a change of its files that a crash cut off cannot be finished: %s", session.id, error)


def saves(session: Session, tool: Tool) -> SyncedFolder | None:
    """Return the private files if a call of this tool may change them and they are saved for all nodes."""
    files = writable_files(session, tool)
    return None if files is None or files.home else files


async def save(session: Session, files: SyncedFolder) -> tuple[Text, ...]:
    """Save the files after a call, before its outcome is noted. Returns a text for the model, empty if all is saved. If
    cancelled, it leaves the files marked as unsaved."""
    before = session.state.part(SnapshotState).unsaved
    try:
        saved = await files.save(session.state.part(SnapshotState).saved, patient=before is None)
    except RoostError as error:
        _mark(session, str(error))
        with contextlib.suppress(ObjectsFailed):
            await files.unsaved()
        if isinstance(error, TooLarge):
            return (Text(f"[the files of this workspace cannot be saved: {error}]"),)
        return () if before is not None else (Text(_NOT_SAVED),)
    except asyncio.CancelledError:
        _mark(session, "the save was cut off")
        raise
    note_saved(session, saved)
    return ()


async def save_before_sleep(session: Session) -> None:
    """Save the changes of interrupted calls and of background jobs, and those that could not be saved earlier."""
    files = session.means.files
    if files is None:
        return
    if not files.ready:
        with contextlib.suppress(ObjectsFailed):  # the next wake restores the last snapshot
            await files.rested(
                session.born, session.log.epoch, unsaved=session.state.part(SnapshotState).unsaved is not None
            )
        return
    if not files.dirty or files.home:
        return
    try:
        async with asyncio.timeout(_REST_SECONDS):
            note_saved(session, await files.save(session.state.part(SnapshotState).saved, patient=False))
    except (RoostError, TimeoutError) as error:
        _mark(session, str(error) or "the save took too long")


def _mark(session: Session, reason: str) -> None:
    if session.state.part(SnapshotState).unsaved is None:
        log.error("session %s: its files are not saved: %s", session.id, reason)
        session.log.note(WorkspaceUnsaved(at=time.time(), reason=reason[:500]))
