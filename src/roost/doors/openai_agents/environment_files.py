"""Files of environments: taken from a request, and placed into workspaces."""

from __future__ import annotations

import binascii
from collections.abc import AsyncIterator, Sequence

from roost.doors.openai_agents.context import Context, missing
from roost.doors.openai_agents.environment_config import FileGiven, PlacedFile, relative
from roost.errors import Invalid, NotFound
from roost.features.uploads.duties import UploadDuties
from roost.features.uploads.events import FileToPlace
from roost.features.uploads.uploads import NewUpload, Uploads
from roost.ids import new_id
from roost.workspace.safe_paths import WRITE_CAP


def uploads_of(context: Context) -> Uploads:
    """Return the uploaded files of this node's store."""
    return context.runtime.node.feature(UploadDuties).uploads


async def taken(context: Context, given: Sequence[FileGiven], owner: str) -> tuple[PlacedFile, ...]:
    """Return files of a request, each with its upload; content that came with the request becomes one. Raises
    `NotFound`, `Invalid`."""
    return tuple([await _taken(context, one, owner) for one in given])


async def _taken(context: Context, given: FileGiven, owner: str) -> PlacedFile:
    uploads = uploads_of(context)
    if given.upload is None:
        data = _decoded(given.data or "", given.path)
        name = given.path.rpartition("/")[2]
        made = await uploads.add(NewUpload(name=name, owner=owner, note={"inline": True}), _once(data), most=WRITE_CAP)
        return PlacedFile(new_id("efile"), made.id, given.path, len(data), inline=True)
    try:
        known = await uploads.get(given.upload, owner=owner)
    except NotFound:
        raise missing("file", given.upload) from None
    if known.size > WRITE_CAP:
        raise Invalid(f"the file {known.id!r} has {known.size} bytes; one of an environment has at most {WRITE_CAP}")
    return PlacedFile(new_id("efile"), known.id, given.path, known.size)


def _decoded(data: str, path: str) -> bytes:
    try:
        return binascii.a2b_base64(data.encode("ascii"), strict_mode=True) if data else b""
    except ValueError as error:
        raise Invalid(f"files: the data of {path!r} is not base64: {error}") from None


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def to_place(files: Sequence[PlacedFile]) -> tuple[FileToPlace, ...]:
    return tuple(FileToPlace(one.upload, relative(one.path)) for one in files)
