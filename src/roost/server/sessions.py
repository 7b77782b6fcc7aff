"""Endpoints for sessions: create, find, inspect, delete, control."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from roost.agent.definition import Agent
from roost.errors import Conflict
from roost.kernel.compaction_result import Compacted
from roost.kernel.sessions import SessionView
from roost.log.events import ControlAction
from roost.log.protocols import SessionInfo, SessionQuery
from roost.server.responses import Reply, json
from roost.server.row_handler import Call, Endpoint, Nothing
from roost.server.shapes import NewSessionBody, SessionPage, SessionsQuery, Transcript


async def create(call: Call[NewSessionBody, Nothing]) -> Reply:
    body, sessions = call.body, call.api.sessions
    agent = sessions.variant(body.agent, model=body.model, definition=body.definition)
    info = await sessions.create(
        agent, id=body.id, workspace=body.workspace, title=body.title, labels=body.labels, key=call.key
    )
    if call.key is not None and _differs(body, agent, info):
        raise Conflict(f"the key {call.key!r} made another session, {info.id!r}", code="idempotency_mismatch")
    return json(201, info, headers=[(b"location", b"/sessions/" + info.id.encode())])


def _differs(body: NewSessionBody, agent: Agent, info: SessionInfo) -> bool:
    """Return whether a repeated request differs from the session that its key created. A change of the agent on the
    node since then is no difference."""
    version = info.version if body.model is None and body.definition is None else agent.spec.version
    wanted = (body.agent, version, body.id or info.id, body.workspace, body.title, body.labels or {})
    return wanted != (info.agent, info.version, info.id, info.workspace, info.title, info.labels)


async def find(call: Call[Nothing, SessionsQuery]) -> Reply:
    query = call.query
    key, _, value = (query.label or "").partition(":")
    found = await call.api.sessions.find(
        SessionQuery(
            agent=query.agent,
            state=query.state,
            parent=query.parent,
            label=(key, value) if query.label else None,
            before=query.before,
            limit=query.limit + 1,
        ),
        turns=query.turns,
    )
    page = found[: query.limit]
    return json(200, SessionPage(sessions=page, next=page[-1].id if len(found) > query.limit else None))


async def inspect(call: Call[Nothing, Nothing]) -> Reply:
    return json(200, await call.api.sessions.inspect(call.session))


async def delete(call: Call[Nothing, Nothing]) -> Reply:
    await call.api.sessions.delete(call.session)
    return Reply(204)


async def messages(call: Call[Nothing, Nothing]) -> Reply:
    return json(200, Transcript(messages=await call.api.sessions.transcript(call.session)))


_AIM = {"start": "running", "resume": "running", "pause": "paused", "stop": "stopped"}


def _control(action: ControlAction) -> Callable[[Call[Nothing, Nothing]], Awaitable[Reply]]:
    async def control(call: Call[Nothing, Nothing]) -> Reply:
        info = await call.api.sessions.control(call.session, action, key=call.key)
        reached = info.phase == "idle" if action == "cancel" else info.state == _AIM.get(action)
        return json(200 if reached or not info.pending else 202, info)

    return control


async def compact(call: Call[Nothing, Nothing]) -> Reply:
    done = await call.api.sessions.compact(call.session, key=call.key)
    return json(202 if done.compaction.outcome == "waits" else 200, done)


_CONTROLS: dict[ControlAction, str] = {
    "start": "Let a session take inputs, again if it was stopped or failed",
    "pause": "Stop after what is going on now, and keep it; inputs wait",
    "resume": "Go on where a pause or an error left off",
    "cancel": "End the running turn without an answer",
    "stop": "End the running turn and take no more inputs",
    "trust": "Take what the session has read from outside for harmless",
}

ENDPOINTS = [
    Endpoint(
        method="POST",
        path="/sessions",
        summary="Make a session of an agent",
        handler=create,
        body=NewSessionBody,
        query=Nothing,
        answers={201: SessionInfo},
        errors=(409,),
        keyed=True,
    ),
    Endpoint(
        method="GET",
        path="/sessions",
        summary="Sessions, newest first",
        handler=find,
        body=Nothing,
        query=SessionsQuery,
        answers={200: SessionPage},
    ),
    Endpoint(
        method="GET",
        path="/sessions/{session}",
        summary="A session as its log says it is",
        handler=inspect,
        body=Nothing,
        query=Nothing,
        answers={200: SessionView},
        errors=(404,),
    ),
    Endpoint(
        method="DELETE",
        path="/sessions/{session}",
        summary="Remove a session, its log and its private files",
        handler=delete,
        body=Nothing,
        query=Nothing,
        answers={204: None},
        errors=(404, 409),
    ),
    Endpoint(
        method="GET",
        path="/sessions/{session}/messages",
        summary="The transcript in the model's context",
        handler=messages,
        body=Nothing,
        query=Nothing,
        answers={200: Transcript},
        errors=(404,),
    ),
    Endpoint(
        method="POST",
        path="/sessions/{session}/compact",
        summary="Make what the model sees smaller: a summary takes the place of earlier messages. 202: it waits",
        handler=compact,
        body=Nothing,
        query=Nothing,
        answers={200: Compacted, 202: Compacted},
        errors=(404, 409),
        keyed=True,
    ),
    *(
        Endpoint(
            method="POST",
            path=f"/sessions/{{session}}/{action}",
            summary=f"{summary}. 202: accepted, and not yet in effect",
            handler=_control(action),
            body=Nothing,
            query=Nothing,
            answers={200: SessionInfo, 202: SessionInfo},
            errors=(404, 409),
            keyed=True,
        )
        for action, summary in _CONTROLS.items()
    ),
]
