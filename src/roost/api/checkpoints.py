"""Checkpoints, rollbacks and forks of sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Protocol

from msgspec import Meta

from roost.api.shapes import Answer, Labels, Name, Position
from roost.kernel.checkpoint_views import LABEL, CheckpointInfo, FilesDiff, Travelled
from roost.log.session_info import SessionInfo
from roost.operation import DELETE, GET, POST

_Label = Annotated[str, Meta(min_length=1, max_length=LABEL)]
_ALL = "/sessions/{session}/checkpoints"


class Checkpoints(Answer):
    """The newest first."""

    checkpoints: list[CheckpointInfo]


def _done(result: Travelled, given: Mapping[str, Any]) -> int:
    return 200 if result.seq is not None else 202


def _made(result: Travelled, given: Mapping[str, Any]) -> int:
    return 201 if result.seq is not None else 202


class CheckpointsApi(Protocol):
    @POST(_ALL, (201, 202), status=_made, body="CheckpointBody", errors=(404, 409), keyed=True, adopts="always")
    async def make(self, session: str, label: str | None = None, *, key: str | None = None) -> Travelled:
        """Keep what a session is, to go back to or to fork from. 202: accepted, and still to be made."""
        ...

    @GET(_ALL, errors=(404,))
    async def list(self, session: str) -> Checkpoints:
        """Checkpoints, newest first."""
        ...

    @DELETE(f"{_ALL}/{{checkpoint}}", (200, 202), status=_done, errors=(404,), adopts="always")
    async def drop(self, session: str, checkpoint: int | str) -> Travelled:
        """Keep a checkpoint no more, named by its position or label. 202: accepted, and not yet in effect."""
        ...

    @GET("/sessions/{session}/diff", errors=(404, 409))
    async def diff(self, session: str, *, since: _Label | None = None, until: _Label | None = None) -> FilesDiff:
        """What changed in the private files since a checkpoint, or between two.

        Positions of the log or checkpoints' labels. By default `since` is the newest checkpoint and `until` is now.
        """
        ...

    @POST(
        "/sessions/{session}/rollback",
        (200, 202),
        status=_done,
        body="RollbackBody",
        errors=(404, 409),
        keyed=True,
        adopts="always",
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
