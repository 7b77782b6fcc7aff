"""Endpoints for a session's descendants, and the calls in them that wait for a person."""

from __future__ import annotations

from roost.kernel.sessions import WaitingCall
from roost.log.protocols import SessionInfo
from roost.server.responses import Reply, json
from roost.server.row_handler import Call, Endpoint, Nothing
from roost.server.shapes import SessionTree, WaitingCalls


async def approvals(call: Call[Nothing, Nothing]) -> Reply:
    waiting: list[WaitingCall] = await call.api.sessions.approvals(call.session)
    return json(200, WaitingCalls(approvals=waiting))


async def tree(call: Call[Nothing, Nothing]) -> Reply:
    sessions: list[SessionInfo] = await call.api.sessions.tree(call.session)
    return json(200, SessionTree(sessions=sessions))


ENDPOINTS = [
    Endpoint(
        method="GET",
        path="/sessions/{session}/approvals",
        summary="Calls that wait for a person, in the session and in all that come from it",
        handler=approvals,
        body=Nothing,
        query=Nothing,
        answers={200: WaitingCalls},
        errors=(404,),
    ),
    Endpoint(
        method="GET",
        path="/sessions/{session}/tree",
        summary="The session and all that come from it, parents before children",
        handler=tree,
        body=Nothing,
        query=Nothing,
        answers={200: SessionTree},
        errors=(404,),
    ),
]
