"""Copy uploaded files into the workspace, between turns, and publish files of it when a turn ends.

The order for copies stays in the inbox until the files are there and saved. After a crash the next owner copies them
again, over what is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from roost.agent.feature import Feature
from roost.agent.interrupts import Interrupted
from roost.agent.session import Session
from roost.errors import NotFound, RoostError, StoreFailed
from roost.features.snapshots import workspace_saving
from roost.features.uploads.events import (
    FilesPlaced,
    FileToPlace,
    PlacedFile,
    PlaceFilesInput,
    PublishingSet,
    PublishInput,
)
from roost.features.uploads.ports import UploadedFiles
from roost.features.uploads.publishing import publish
from roost.features.uploads.state import UploadsState
from roost.log import events as ev
from roost.log.protocols import InboxItem
from roost.workspace.files import Workspace
from roost.workspace.object_store import ObjectsFailed
from roost.workspace.safe_paths import WRITE_CAP, read_file, write_file


def _later(session: Session, item: InboxItem) -> None:
    """Leave the input to `between_turns`, which takes time."""


async def _place(session: Session, item: InboxItem, files: tuple[FileToPlace, ...]) -> None:
    """Copy the files. Raises `Interrupted`, `ObjectsFailed`, `StoreFailed`: the input stays then."""
    await workspace_saving.restore_files(session)
    folder = session.means.files
    if folder is not None:
        await folder.working()
    placed = await session.interrupts.interruptible(lambda: _copied(session, files), steer=False)
    if folder is not None and not folder.home:
        await workspace_saving.save(session, folder)
    session.log.note(FilesPlaced(at=time.time(), input=item.id, files=placed), consume=item.id)


async def _copied(session: Session, files: Sequence[FileToPlace]) -> tuple[PlacedFile, ...]:
    return tuple([await _copy(session, one) for one in files])


async def _copy(session: Session, one: FileToPlace) -> PlacedFile:
    uploads = session.means.find(UploadedFiles)
    if uploads is None:
        return PlacedFile(one.upload, one.path, error="this node reads no uploaded files")
    try:
        data = await uploads.content(one.upload, most=WRITE_CAP)
        await asyncio.to_thread(_write, session.means.workspace, one.path, data)
    except (ObjectsFailed, StoreFailed):  # tried again later
        raise
    except (RoostError, OSError) as error:
        return PlacedFile(one.upload, one.path, error=str(error)[:500])
    return PlacedFile(one.upload, one.path, len(data))


def _write(workspace: Workspace, path: str, data: bytes) -> None:
    real = workspace.resolve(path)
    try:
        expected = read_file(workspace, real).digest
    except NotFound:
        expected = None
    write_file(workspace, real, data, expected=expected, create_folders=True)


def _set(session: Session, item: InboxItem) -> None:
    order = item.input
    assert isinstance(order, PublishInput)
    event = PublishingSet(
        at=time.time(), folder=order.folder, input=item.id, owner=order.owner, keys=order.keys
    )  # fmt: skip
    session.log.note(event, consume=item.id)


class Uploads(Feature):
    """Copy uploaded files into the workspace by order, and publish files of it."""

    takes = {PlaceFilesInput: _later, PublishInput: _set}

    async def before_end(self, session: Session, how: ev.ChildOutcome) -> None:
        if how == "answered" and session.state.part(UploadsState).publishes is not None:
            await publish(session)

    async def between_turns(self, session: Session) -> None:
        waiting = [item for item in session.inbox if isinstance(item.input, PlaceFilesInput)]
        if not waiting:
            return
        detached, session.interrupts.detached = session.interrupts.detached, True
        try:
            for item in waiting:
                assert isinstance(item.input, PlaceFilesInput)
                await _place(session, item, item.input.files)
        except Interrupted:
            return
        finally:
            session.interrupts.detached = detached


FEATURE = Uploads()
