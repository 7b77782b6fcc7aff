"""Events and inputs of this feature."""

from __future__ import annotations

import msgspec

from roost.log.events import Event
from roost.log.inputs import Input


class FileToPlace(msgspec.Struct, frozen=True, omit_defaults=True):
    """upload: the id of an uploaded file. path: where it goes, relative to the workspace."""

    upload: str
    path: str


class PlacedFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """size: bytes. error: why the file is not there; None if it is."""

    upload: str
    path: str
    size: int = 0
    error: str | None = None


class FilesPlaced(Event, frozen=True, tag="files.placed"):
    """Uploaded files were copied into the workspace, over files of the same paths. input: the request for it."""

    input: int
    files: tuple[PlacedFile, ...]

    @property
    def line(self) -> str:
        failed = [f"{one.path}: {one.error}" for one in self.files if one.error is not None]
        there = [one.path for one in self.files if one.error is None]
        return "; ".join([f"files are in the workspace: {', '.join(there)}"] * bool(there) + failed)


class PublishedFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """path: relative to the workspace. upload: the id of the copy; empty if there is none. digest: of its content.
    error: why there is no copy."""

    path: str
    upload: str = ""
    size: int = 0
    digest: str = ""
    error: str | None = None


class FilesPublished(Event, frozen=True, tag="files.published"):
    """Files of the folder that a client gets were copied, as they were when the turn ended."""

    turn: int
    files: tuple[PublishedFile, ...]

    @property
    def line(self) -> str:
        return f"published: {', '.join(one.path for one in self.files)}"


class PublishingSet(Event, frozen=True, tag="files.publishing"):
    """From now on, the new files of `folder` are published when a turn ends with an answer. owner: the account that
    they belong to. keys: by which the copies are found."""

    folder: str
    input: int
    owner: str = ""
    keys: dict[str, str] = {}


class PublishInput(Input, frozen=True, tag="files.publish"):
    """Fields as in `PublishingSet`."""

    folder: str
    owner: str = ""
    keys: dict[str, str] = {}


class PlaceFilesInput(Input, frozen=True, tag="files.place"):
    """Copy uploaded files into the workspace before the next turn, or before an open one goes on."""

    files: tuple[FileToPlace, ...]


EVENTS = (FilesPlaced, FilesPublished, PublishingSet)
INPUTS = (PlaceFilesInput, PublishInput)
