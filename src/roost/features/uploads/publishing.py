"""Publish the files of a folder of the workspace: those that are new or changed when a turn ends. A failure is told
once, until the file can be published.

It happens before the turn's end is noted, and each copy has a key. So after a crash the turn ends again and makes no
second copy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time
from typing import NamedTuple

from roost.agent.session import Session
from roost.errors import RoostError
from roost.features.uploads.events import FilesPublished, PublishedFile
from roost.features.uploads.ports import UploadedFiles
from roost.features.uploads.state import UploadsState
from roost.workspace.files import Workspace
from roost.workspace.safe_paths import digest_of, read_file

MOST = 100
"""Most files that a turn publishes, and most failures that it tells."""
_WALKED = 5000


class _Looked:
    """Published files that were not read again in vain: path -> size and times that they had then."""

    def __init__(self, session: Session) -> None:
        self.at: dict[str, tuple[int, ...]] = {}


class _Found(NamedTuple):
    data: bytes
    digest: str


async def publish(session: Session) -> None:
    """Publish new files. What fails is noted and does not keep the turn from its end, nor does the turn's time limit
    end this. Raises `Interrupted`."""
    part, uploads, turn = session.state.part(UploadsState), session.means.find(UploadedFiles), session.state.turn
    if part.publishes is None or uploads is None or turn is None:
        return
    detached, session.interrupts.detached = session.interrupts.detached, True
    try:
        published = await session.interrupts.interruptible(
            lambda: _published(session, part, uploads, turn.number), steer=False
        )
    finally:
        session.interrupts.detached = detached
    if published:
        session.log.note(FilesPublished(at=time.time(), turn=turn.number, files=published))


async def _published(
    session: Session, part: UploadsState, uploads: UploadedFiles, turn: int
) -> tuple[PublishedFile, ...]:
    workspace, folder = session.means.workspace, part.publishes or ""
    files: list[PublishedFile] = []
    failed: list[PublishedFile] = []
    looked = session.own(_Looked).at
    for path, times in await asyncio.to_thread(_paths, workspace, folder):
        if len(files) == MOST:
            break
        if looked.get(path) == times:
            continue
        known = part.published.get(path)
        try:
            one = await asyncio.to_thread(_read, workspace, path)
            if known == one.digest:
                looked[path] = times
                continue
            note = {"session": session.id, "turn": turn, "path": path}
            key = f"{session.id}:{turn}:{one.digest}:{path}"
            id = await uploads.publish(
                os.path.basename(path), one.data, owner=part.owner, keys=part.keys, note=note, key=key
            )
        except (RoostError, OSError) as error:
            if known != "" and len(failed) < MOST:
                failed.append(PublishedFile(path, error=str(error)[:500]))
        else:
            files.append(PublishedFile(path, id, len(one.data), one.digest))
    return (*files, *failed)


def _paths(workspace: Workspace, folder: str) -> list[tuple[str, tuple[int, ...]]]:
    """Return the paths of the regular files below a folder, in order, links not followed, with size and times."""
    found: list[tuple[str, tuple[int, ...]]] = []
    top = workspace.place / folder
    for here, folders, names in os.walk(top):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(here, name)
            with contextlib.suppress(OSError):  # removed meanwhile
                about = os.lstat(path)
                if stat.S_ISREG(about.st_mode):
                    times = (about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino)
                    found.append((os.path.relpath(path, workspace.place), times))
        if len(found) >= _WALKED:
            break
    return found


def _read(workspace: Workspace, path: str) -> _Found:
    data = read_file(workspace, workspace.resolve(path)).data
    return _Found(data, digest_of(data))
