"""Endpoints for the running daemon's configuration: reading, changing, reloading files, moving sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from roost.kernel.settings import Revision, Value
from roost.kernel.settings_reload import Reloaded, Setting
from roost.log.protocols import SessionInfo
from roost.server.responses import Reply, json
from roost.server.row_handler import Call, Endpoint, Nothing

_Who = Annotated[str, Meta(min_length=1, max_length=200)]


class _Shape(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class ConfigPatch(_Shape):
    """Applies all of `values` or none. null removes a setting, so that the node's start value holds again. `by`: the
    author, for the history."""

    values: Annotated[dict[str, Value | None], Meta(min_length=1, max_length=64)]
    by: _Who = "HTTP"


class Configuration(_Shape):
    """`faults`: files and settings that this node could not apply, and why. `number`: the newest change, 0 without
    any."""

    number: int
    settings: list[Setting]
    faults: Mapping[str, str]


class HistoryQuery(_Shape):
    """`before`: only changes before that number."""

    before: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50


class History(_Shape):
    """The newest first. `old` or `new` is absent where the node's start value held or holds again."""

    changes: list[Revision]


class MoveBody(_Shape):
    """`model`: replaces the agent's own."""

    model: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    by: _Who = "HTTP"


async def get(call: Call[Nothing, Nothing]) -> Reply:
    configuration = call.api.runtime.configuration
    settings = await configuration.settings()
    found = Configuration(
        number=configuration.record.newest.number, settings=settings, faults=configuration.all_faults()
    )
    return json(200, found)


async def patch(call: Call[ConfigPatch, Nothing]) -> Reply:
    return json(200, await call.api.runtime.configuration.patch(call.body.values, by=call.body.by))


async def history(call: Call[Nothing, HistoryQuery]) -> Reply:
    query = call.query
    found = await call.api.runtime.configuration.record.history(before=query.before, limit=query.limit)
    return json(200, History(changes=found))


async def reload(call: Call[Nothing, Nothing]) -> Reply:
    return json(200, await call.api.runtime.configuration.reload())


async def move(call: Call[MoveBody, Nothing]) -> Reply:
    sessions, body = call.api.sessions, call.body
    info = await sessions.get(call.session)
    agent = sessions.variant(info.agent, model=body.model)
    await sessions.move(call.session, agent, key=call.key, by=body.by)
    return json(202, await sessions.get(call.session))


ENDPOINTS = [
    Endpoint(
        method="GET",
        path="/config",
        summary="What can be changed while nodes run, and what it is on this one",
        handler=get,
        body=Nothing,
        query=Nothing,
        answers={200: Configuration},
    ),
    Endpoint(
        method="PATCH",
        path="/config",
        summary="Change the configuration of all nodes: here at once, elsewhere within seconds",
        handler=patch,
        body=ConfigPatch,
        query=Nothing,
        answers={200: Revision},
    ),
    Endpoint(
        method="GET",
        path="/config/history",
        summary="The changes, the newest first",
        handler=history,
        body=Nothing,
        query=HistoryQuery,
        answers={200: History},
    ),
    Endpoint(
        method="POST",
        path="/reload",
        summary="Read this node's files again: agents, models.toml, policy.toml",
        handler=reload,
        body=Nothing,
        query=Nothing,
        answers={200: Reloaded},
    ),
    Endpoint(
        method="POST",
        path="/sessions/{session}/move",
        summary="Let a session go on, from its next turn on, as its agent is now; nothing happens if it does already",
        handler=move,
        body=MoveBody,
        query=Nothing,
        answers={202: SessionInfo},
        errors=(404, 409),
        keyed=True,
    ),
]
