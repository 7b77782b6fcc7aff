"""Snapshots of a session's files, at the seams of the loop."""

from __future__ import annotations

from roost.agent.feature import CallEnd, CallStart, Feature
from roost.agent.session import Session
from roost.features.snapshots import undo_points, workspace_saving
from roost.features.snapshots.state import SnapshotState


class Snapshots(Feature):
    """Restore the files before anything runs, take undo points, and save the files with each call that may write."""

    async def enter_turn(self, session: Session) -> None:
        await workspace_saving.restore_files(session)
        await undo_points.undo_pending(session)
        await undo_points.at_turn(session)

    async def before_calls(self, session: Session) -> None:
        if session.state.part(SnapshotState).undo is not None or session.means.files is not None:
            await undo_points.undo_pending(session)

    async def before_call(self, session: Session, start: CallStart) -> None:
        if session.spec.points:
            await undo_points.before(session, start)

    async def call_begins(self, session: Session, start: CallStart) -> None:
        if (files := workspace_saving.saves(session, start.tool)) is not None:
            await files.working()

    async def after_call(self, session: Session, end: CallEnd) -> None:
        if end.outcome != "ok" and (files := undo_points.writable_files(session, end.tool)) is not None:
            end.parts += await undo_points.roll_back(session, files, end.call, end.problem)
        if (files := workspace_saving.saves(session, end.tool)) is not None:
            end.parts += await workspace_saving.save(session, files)

    async def before_sleep(self, session: Session) -> None:
        await workspace_saving.save_before_sleep(session)


FEATURE = Snapshots()
