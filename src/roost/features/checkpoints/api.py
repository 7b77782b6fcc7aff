"""Checkpoints, rollbacks and forks of sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Protocol, TypeAlias

import msgspec
from msgspec import Meta

from roost.api.shapes import Answer, Labels, Name, Position
from roost.features.checkpoints.file_versions import FileHistory
from roost.log.session_info import SessionInfo
from roost.operation import DELETE, GET, POST, Download
from roost.workspace.changes import FileChange

LABEL = 200
"""Most characters of a checkpoint's label."""
Target: TypeAlias = int | str
"""A position of the log, or the label of a checkpoint."""
_Label = Annotated[str, Meta(min_length=1, max_length=LABEL)]
_Path = Annotated[str, Meta(min_length=1, max_length=4096)]
_ALL = "/sessions/{session}/checkpoints"
BYTES = "application/octet-stream"


class CheckpointInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint. `seq`: its position in the log. `files`: whether the private files are kept with it."""

    seq: int
    label: str | None
    cause: str
    made_at: float
    files: bool


class FilesDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What changed in a session's private files from the position `since` to `until` (None: now). `changes`: the first
    1,000, sorted by path; `added`, `removed` and `changed` count all. `why_not_since`, `why_not_until`: why the files
    shown are older than that position."""

    session: str
    since: int
    until: int | None
    why_not_since: str | None = None
    why_not_until: str | None = None
    changes: list[FileChange]
    added: int
    removed: int
    changed: int


class Travelled(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an order. `seq`: position of the event that says it is done; None: accepted as `input`, still
    pending. `to`: the position that the session went back to. `files`: whether its files were kept or restored; if not,
    `why_no_files`. `files_left`: why a dropped checkpoint's files still take space."""

    session: str
    input: int
    seq: int | None = None
    to: int | None = None
    label: str | None = None
    files: bool = False
    why_no_files: str | None = None
    files_left: str | None = None


class Checkpoints(Answer):
    """The newest first."""

    checkpoints: list[CheckpointInfo]


def _done(result: Travelled, given: Mapping[str, Any]) -> int:
    return 200 if result.seq is not None else 202


def _made(result: Travelled, given: Mapping[str, Any]) -> int:
    return 201 if result.seq is not None else 202


class CheckpointsApi(Protocol):
    @POST(
        _ALL,
        (201, 202),
        status=_made,
        body="CheckpointBody",
        errors=(404, 409),
        keyed=True,
        adopts="always",
        right="use",
    )
    async def make(self, session: str, label: str | None = None, *, key: str | None = None) -> Travelled:
        """Keep what a session is, to go back to or to fork from. 202: accepted, and still to be made."""
        ...

    @GET(_ALL, errors=(404,), right="read")
    async def list(self, session: str) -> Checkpoints:
        """Checkpoints, newest first."""
        ...

    @DELETE(f"{_ALL}/{{checkpoint}}", (200, 202), status=_done, errors=(404,), adopts="always", right="use")
    async def drop(self, session: str, checkpoint: int | str) -> Travelled:
        """Keep a checkpoint no more, named by its position or label. 202: accepted, and not yet in effect."""
        ...

    @GET("/sessions/{session}/diff", errors=(404, 409), right="read")
    async def diff(
        self, session: str, *, since: _Label | None = None, until: _Label | None = None, path: _Path | None = None
    ) -> FilesDiff:
        """What changed in the private files since a checkpoint, or between two.

        Positions of the log or checkpoints' labels. By default `since` is the newest checkpoint and `until` is now.
        `path`: compare only this file.
        """
        ...

    @GET("/sessions/{session}/file-history", errors=(404, 409), right="read")
    async def history(
        self,
        session: str,
        path: _Path,
        *,
        before: Position | None = None,
        limit: Annotated[int, Meta(ge=1, le=200)] = 50,
    ) -> FileHistory:
        """The versions of one private file over the checkpoints, the newest first.

        `limit`: how many checkpoints with different files are looked at. `before`: only those before this position.
        """
        ...

    @GET("/sessions/{session}/file", errors=(404, 409, 413), texts=(BYTES,), shown="str", right="read")
    async def file(self, session: str, path: _Path, *, at: _Label | None = None) -> Download[AsyncIterator[bytes]]:
        """One private file, as it is now or was `at` a position of the log or a checkpoint's label."""
        ...

    @POST(
        "/sessions/{session}/rollback",
        (200, 202),
        status=_done,
        body="RollbackBody",
        errors=(404, 409),
        keyed=True,
        adopts="always",
        right="use",
    )
    async def rollback(
        self,
        session: str,
        to: Position | _Label | None = None,
        *,
        undo: bool = False,
        resume: bool = False,
        key: str | None = None,
    ) -> Travelled:
        """Make a session what it was: conversation, memory, private files. 202: accepted, and not yet in effect.

        `to`: a position of the log or a checkpoint's label; by default the newest checkpoint. `undo`: go back to the
        state before the last rollback. `resume`: also run on from there if the session is paused, stopped or failed.
        """
        ...

    @POST(
        "/sessions/{session}/fork",
        201,
        body="ForkBody",
        errors=(404, 409),
        keyed=True,
        location="id",
        adopts="always",
        right="use",
    )
    async def fork(
        self,
        session: str,
        at: Position | _Label | None = None,
        *,
        id: Name | None = None,
        title: Annotated[str, Meta(max_length=1024)] | None = None,
        labels: Labels | None = None,
        key: str | None = None,
    ) -> SessionInfo:
        """Make a session that begins as this one was.

        `at`: a position of the log or a checkpoint's label; by default the end of the last turn. `labels` are added to
        those of the session.
        """
        ...
