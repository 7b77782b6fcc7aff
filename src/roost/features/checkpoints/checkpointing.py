"""Checkpoints and rollbacks, made by the session's driver between steps, never during a call.

A rollback's event names the snapshot that the files must be put back to (`SnapshotState.undo`). Nothing reads or writes
the files before that is done, so after a crash the next owner only repeats the restore.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Sequence

from roost.agent import inputs
from roost.agent.interrupts import Interrupted
from roost.agent.rewind import rewind
from roost.agent.session import Session
from roost.agent.state import STATE_VERSION, State, encode_state
from roost.errors import RoostError
from roost.features.checkpoints.events import (
    CheckpointCause,
    CheckpointDropped,
    CheckpointInput,
    CheckpointMade,
    DropCheckpointInput,
    RollbackInput,
)
from roost.features.checkpoints.ports import Past
from roost.features.checkpoints.state import ELSEWHERE, OWN_FOLDER, CheckpointState, Files, Kept, files_for_position
from roost.features.jobs import tracking
from roost.features.snapshots import undo_points
from roost.features.snapshots.state import SnapshotState
from roost.features.snapshots.workspace_saving import restore_files
from roost.features.terminals.session_terminals import terminals
from roost.log import events as ev
from roost.log.facts import MemoryRevert
from roost.log.protocols import CheckpointRow, InboxItem, Snapshot
from roost.workspace.snapshot_sync import SyncedFolder

log = logging.getLogger("roost.files")


def waits(session: Session) -> bool:
    """Whether the inbox has an input for `settle`."""
    return bool(session.inbox) and any(
        isinstance(item.input, CheckpointInput | DropCheckpointInput | RollbackInput) for item in session.inbox
    )


async def settle(session: Session) -> None:
    """Apply waiting checkpoint and rollback inputs, in order. One that a control interrupts is started again after the
    control. Raises `ObjectsFailed`."""
    detached, session.interrupts.detached = session.interrupts.detached, True
    try:
        for item in list(session.inbox):
            match item.input:
                case CheckpointInput(label=label, cause=cause):
                    await keep(session, cause, label=label, item=item)
                case DropCheckpointInput(checkpoint=checkpoint):
                    await _drop(session, item, checkpoint)
                case RollbackInput(to=to, resume=resume):
                    await _roll_back(session, item, to, resume=resume)
                case _:
                    pass
    except Interrupted:
        return
    finally:
        session.interrupts.detached = detached


async def at_rest(session: Session) -> None:
    """Make a checkpoint of a paused or stopped session, unless nothing happened since the last one."""
    policy, state = session.spec.checkpoints, session.state
    wanted = (state.state == "paused" and policy.at_pause) or (state.state == "stopped" and policy.at_stop)
    if not wanted or not _moved(state) or session.interrupts.stopping or state.part(SnapshotState).undo is not None:
        return
    await session.log.flush()  # followers must see the pause before the files are saved
    await _automatic(session, "pause" if state.state == "paused" else "stop")


async def between_steps(session: Session) -> None:
    """Apply waiting checkpoint inputs, and make a checkpoint if the policy demands one."""
    if waits(session):
        await settle(session)
    if session.state.turn is not None and _is_due(session):
        await _automatic(session, "interval")


def _is_due(session: Session) -> bool:
    policy, state = session.spec.checkpoints, session.state
    if (policy.every_steps, policy.every_seconds) == (None, None) or not _moved(state):
        return False
    last = state.part(CheckpointState).last
    steps = state.steps - (last.steps if last is not None else 0)
    seconds = time.time() - (last.at if last is not None else session.born)
    by_steps = policy.every_steps is not None and steps >= policy.every_steps
    return by_steps or (policy.every_seconds is not None and seconds >= policy.every_seconds)


async def before_risk(session: Session) -> None:
    """Make a checkpoint before the intent of a high-risk call, if the policy demands it."""
    last = session.state.part(CheckpointState).last
    if session.spec.checkpoints.before_risky and not (last is not None and last.seq == session.state.seq):
        await _automatic(session, "risky")


async def finish_undo(session: Session) -> None:
    """Put the files back as a rollback, a fork or a failed call demands, before anything else uses them. Raises
    `ObjectsFailed`."""
    detached, session.interrupts.detached = session.interrupts.detached, True
    try:
        await _put_back(session)
    except Interrupted:
        return
    finally:
        session.interrupts.detached = detached


async def _put_back(session: Session) -> None:
    if session.state.part(SnapshotState).undo is not None:
        await restore_files(session)
        await undo_points.undo_pending(session)


async def keep(
    session: Session,
    cause: CheckpointCause,
    *,
    label: str | None = None,
    item: InboxItem | None = None,
    spare: int = 0,
) -> None:
    """Make a checkpoint. spare: position of a checkpoint that is not dropped, even above the limit. Raises
    `Interrupted`; no checkpoint is made then."""
    files = await _files(session)
    state = session.state
    dropped = _too_many(session, cause, spare)
    event = CheckpointMade(
        at=time.time(),
        cause=cause,
        label=label,
        files=files.files,
        files_in=files.files_in,
        why_no_files=files.why_not,
        input=None if item is None else item.id,
        dropped=dropped,
    )
    session.log.note(event, consume=None if item is None else item.id)
    session.log.keep(_row(state, state.part(CheckpointState).checkpoints[-1]))
    session.log.drop_checkpoints(dropped)
    await session.log.flush()


def _row(state: State, kept: Kept) -> CheckpointRow:
    snapshot = Snapshot(kept.seq, STATE_VERSION, encode_state(state))
    return CheckpointRow(kept.seq, kept.label, kept.at, kept.cause, kept.files, kept.seq, snapshot)


async def _automatic(session: Session, cause: CheckpointCause) -> None:
    detached, session.interrupts.detached = session.interrupts.detached, True
    try:
        await keep(session, cause)
    except Interrupted:
        return
    finally:
        session.interrupts.detached = detached


def _moved(state: State) -> bool:
    last = state.part(CheckpointState).last
    return (state.turns, state.steps) != ((last.turns, last.steps) if last is not None else (0, 0))


def _too_many(session: Session, cause: CheckpointCause, spare: int) -> tuple[int, ...]:
    """Return the automatic checkpoints to drop so that the new one fits the limit."""
    if cause == "manual":
        return ()
    own = [
        one.seq for one in session.state.part(CheckpointState).checkpoints if one.cause != "manual" and one.seq != spare
    ]
    return tuple(own[: max(0, len(own) + 1 - max(1, session.spec.checkpoints.keep))])


async def _files(session: Session) -> Files:
    files = session.means.files
    if files is None:
        return Files(why_not=OWN_FOLDER if session.state.workspace is not None else None)
    try:
        await restore_files(session)
        await undo_points.undo_pending(session)
    except RoostError as error:
        return Files(why_not=str(error)[:500])
    taken = await undo_points.take(session, files)
    if taken.undo is None:
        return Files(why_not=taken.problem[:500])
    return Files(taken.undo, "home" if files.home else "store")


async def _drop(session: Session, item: InboxItem, position: int) -> None:
    """Drop a checkpoint, then remove the snapshots that it alone needed. The input stays in the inbox until they are
    removed: after a crash it is handled again."""
    named = {one.files for one in session.state.part(CheckpointState).checkpoints if one.seq != position}
    event = CheckpointDropped(
        at=time.time(), checkpoint=position, input=item.id, points=undo_points.needless(session, named)
    )
    session.log.note(event)
    session.log.drop_checkpoints([position])
    await session.log.flush()
    past = session.means.find(Past)
    if past is None or await past.lend():
        await undo_points.collect(session, thorough=True)
    session.log.drop(item)
    await session.log.flush()


async def _roll_back(session: Session, item: InboxItem, to: int, *, resume: bool) -> None:
    """Roll back, and resume the session if the input demands it. The input stays in the inbox until the files are back,
    so that it wakes the session again after a crash. The resume is part of the commit that consumes it."""
    state, past = session.state, session.means.find(Past)
    if state.part(CheckpointState).rolled_by != item.id and 1 <= to <= session.log.head and past is not None:
        await _go_back(session, item, to, await past.state_at(to))
    await _put_back(session)
    if resume and session.state.state in ("paused", "stopped", "error"):
        session.log.note(ev.StateChanged(at=time.time(), state="running"))
    session.log.drop(item)
    await session.log.flush()


async def _go_back(session: Session, item: InboxItem, to: int, then: State) -> None:
    state = session.state
    inputs.abandon_before(session, item.id)
    tracking.abandon_jobs(session, "the session was rolled back")
    await tracking.reconcile_jobs(session)
    if ended := await tracking.programs(session).close():
        why = f"the session was rolled back: {'; '.join(ended)}"
        session.log.note(ev.SandboxEnded(at=time.time(), reason=why, background=len(ended)))
    if session.means.files is not None and (own := terminals(session)).active:
        await own.end("the session was rolled back")
        own.leaving = False
    last = state.part(CheckpointState).last
    if last is None or last.cause != "rollback" or last.seq != state.seq:  # else a crash came after the checkpoint
        await keep(session, "rollback", spare=to)
    files = Files(why_not=OWN_FOLDER if state.workspace is not None else None)
    if (means := session.means.files) is not None:
        files = await _own(session, means, files_for_position(state, then, to, "home" if means.home else "store"))
    label = next((one.label for one in state.part(CheckpointState).checkpoints if one.seq == to), None)
    session.log.note(
        ev.SessionRolledBack(
            at=time.time(), to=to, input=item.id, label=label, files=files.files, why_no_files=files.why_not
        ),
        facts=[MemoryRevert(to)],
    )
    rewind(state, then)
    session.log.write_snapshot()
    await session.log.flush()


async def _own(session: Session, means: SyncedFolder, files: Files) -> Files:
    """Make sure that a snapshot is in this session's home: one from before a fork may exist only in its source's."""
    named = [one for one in session.state.part(CheckpointState).checkpoints if one.files and one.files == files.files]
    if not named or any(one.of is None for one in named):
        return files
    tried = set[str]()
    async for holder in _holders(session, [one.of for one in named if one.of is not None]):
        if holder not in tried and await means.borrow(files.files or "", holder):
            return files
        tried.add(holder)
    return Files(why_not=ELSEWHERE)


async def _holders(session: Session, first: Sequence[str]) -> AsyncIterator[str]:
    """Yield the sessions that may hold a snapshot: first those that the checkpoints name, then the source of this fork,
    the source's source, and so on. Each may have borrowed it before. Their logs are the beginning of this one's."""
    for name in first:
        yield name
    base, past = session.state.base, session.means.find(Past)
    while base > 1 and past is not None:
        for record in await session.means.read(session.id, after=base - 1, limit=1):
            if isinstance(record.event, ev.SessionForked):
                yield record.event.source
        base = (await past.state_at(base - 1)).base
