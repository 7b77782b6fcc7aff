"""Copy files of a workspace for a chat: into uploads, which any node can read, and which stay as they are."""

from __future__ import annotations

import asyncio
import os
from mimetypes import guess_type

from roost.errors import Invalid, RoostError, StoreFailed
from roost.features.bots.events import SentFile
from roost.features.bots.records import LetterFile
from roost.features.uploads.ports import UploadedFiles
from roost.workspace.files import Workspace
from roost.workspace.object_store import ObjectsFailed
from roost.workspace.safe_paths import read_file

MOST_FILES = 10
"""Most files of one message."""
FILE_BYTES = 20 * 1024 * 1024
"""Most bytes of a file."""
KEPT_SECONDS = 7 * 86_400.0
"""A copy is deleted after this time, delivered or not."""


async def copied(uploads: UploadedFiles, workspace: Workspace, path: str, *, key: str, session: str) -> LetterFile:
    """Copy a file of a workspace that `read_file` may read, once for a `key`. Raises `RoostError`."""
    name, data = await asyncio.to_thread(_read, workspace, path)
    note = {"session": session, "path": path}
    id = await uploads.publish(name, data, owner="", keys={}, note=note, key=key, seconds=KEPT_SECONDS)
    return LetterFile(id, name, guess_type(name)[0] or "application/octet-stream", len(data))


async def sent_file(uploads: UploadedFiles, workspace: Workspace, path: str, *, key: str, session: str) -> SentFile:
    """Copy a file that an answer names; what cannot be copied says why. Raises `ObjectsFailed`, `StoreFailed`."""
    try:
        made = await copied(uploads, workspace, path, key=key, session=session)
    except (ObjectsFailed, StoreFailed):  # tried again later
        raise
    except (RoostError, OSError) as error:
        return SentFile(path, error=str(error)[:500])
    return SentFile(path, made.upload, made.media_type, made.size)


def _read(workspace: Workspace, path: str) -> tuple[str, bytes]:
    real = workspace.resolve(path)
    held = workspace.unseen("read_file", real.parent)
    if held is not None and held(str(real)) is not None:
        raise Invalid(f"{path!r} is held back by the policy", code="file_held_back")
    data = read_file(workspace, real, cap=FILE_BYTES).data
    return os.path.basename(path.rstrip("/"))[:200] or "file", data
