"""Endpoints for checkpoints, rollbacks and forks of sessions."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from roost.kernel.checkpoint_views import LABEL, CheckpointInfo, FilesDiff, Travelled
from roost.log.protocols import SessionInfo
from roost.server.responses import Reply, json
from roost.server.row_handler import Call, Endpoint, Nothing
from roost.server.shapes import LabelKey, Name, Position

_Label = Annotated[str, Meta(min_length=1, max_length=LABEL)]


class _Shape(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class CheckpointBody(_Shape):
    label: str | None = None


class RollbackBody(_Shape):
    """`to`: a position of the log or a checkpoint's label; by default the newest checkpoint. `undo`: go back to the
    state before the last rollback. `resume`: also run on from there if the session is paused, stopped or failed."""

    to: Position | _Label | None = None
    undo: bool = False
    resume: bool = False


class DiffQuery(_Shape):
    """Positions of the log or checkpoints' labels. By default `since` is the newest checkpoint and `until` is now."""

    since: _Label | None = None
    until: _Label | None = None


class ForkBody(_Shape):
    """`at`: a position of the log or a checkpoint's label; by default the end of the last turn. `labels` are added to
    those of the session."""

    at: Position | _Label | None = None
    id: Name | None = None
    title: Annotated[str, Meta(max_length=1024)] | None = None
    labels: Annotated[dict[LabelKey, Annotated[str, Meta(max_length=256)]], Meta(max_length=64)] | None = None


class Checkpoints(_Shape):
    """The newest first."""

    checkpoints: list[CheckpointInfo]


async def checkpoint(call: Call[CheckpointBody, Nothing]) -> Reply:
    made = await call.api.sessions.checkpoint(call.session, call.body.label, key=call.key)
    return json(201 if made.seq is not None else 202, made)


async def checkpoints(call: Call[Nothing, Nothing]) -> Reply:
    return json(200, Checkpoints(checkpoints=await call.api.sessions.checkpoints(call.session)))


async def drop(call: Call[Nothing, Nothing]) -> Reply:
    dropped = await call.api.sessions.drop_checkpoint(call.session, _target(call.params["checkpoint"]))
    return json(200 if dropped.seq is not None else 202, dropped)


def _target(named: str) -> int | str:
    return int(named) if named.isdecimal() and len(named) < 19 else named


async def diff(call: Call[Nothing, DiffQuery]) -> Reply:
    since, until = (None if one is None else _target(one) for one in (call.query.since, call.query.until))
    return json(200, await call.api.sessions.diff(call.session, since, until))


async def rollback(call: Call[RollbackBody, Nothing]) -> Reply:
    body = call.body
    back = await call.api.sessions.rollback(call.session, body.to, undo=body.undo, resume=body.resume, key=call.key)
    return json(200 if back.seq is not None else 202, back)


async def fork(call: Call[ForkBody, Nothing]) -> Reply:
    body = call.body
    made = await call.api.sessions.fork(
        call.session, body.at, id=body.id, title=body.title, labels=body.labels, key=call.key
    )
    return json(201, made, headers=[(b"location", b"/sessions/" + made.id.encode())])


ENDPOINTS = [
    Endpoint(
        method="POST",
        path="/sessions/{session}/checkpoints",
        summary="Keep what a session is, to go back to or to fork from. 202: accepted, and still to be made",
        handler=checkpoint,
        body=CheckpointBody,
        query=Nothing,
        answers={201: Travelled, 202: Travelled},
        errors=(404, 409),
        keyed=True,
    ),
    Endpoint(
        method="GET",
        path="/sessions/{session}/checkpoints",
        summary="Checkpoints, newest first",
        handler=checkpoints,
        body=Nothing,
        query=Nothing,
        answers={200: Checkpoints},
        errors=(404,),
    ),
    Endpoint(
        method="DELETE",
        path="/sessions/{session}/checkpoints/{checkpoint}",
        summary="Keep a checkpoint no more, named by its position or label. 202: accepted, and not yet in effect",
        handler=drop,
        body=Nothing,
        query=Nothing,
        answers={200: Travelled, 202: Travelled},
        errors=(404,),
    ),
    Endpoint(
        method="GET",
        path="/sessions/{session}/diff",
        summary="What changed in the private files since a checkpoint, or between two",
        handler=diff,
        body=Nothing,
        query=DiffQuery,
        answers={200: FilesDiff},
        errors=(404, 409),
    ),
    Endpoint(
        method="POST",
        path="/sessions/{session}/rollback",
        summary="Make a session what it was: conversation, memory, private files. 202: accepted, and not yet in effect",
        handler=rollback,
        body=RollbackBody,
        query=Nothing,
        answers={200: Travelled, 202: Travelled},
        errors=(404, 409),
        keyed=True,
    ),
    Endpoint(
        method="POST",
        path="/sessions/{session}/fork",
        summary="Make a session that begins as this one was",
        handler=fork,
        body=ForkBody,
        query=Nothing,
        answers={201: SessionInfo},
        errors=(404, 409),
        keyed=True,
    ),
]
