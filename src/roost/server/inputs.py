"""Endpoints that put inputs into a session's inbox: messages, answers to approvals, a program's events, timers."""

from __future__ import annotations

import time
from collections.abc import Sequence

from roost.errors import Invalid
from roost.ids import is_id
from roost.kernel.turn_watch import find_turn
from roost.log.content import Text, UserPart
from roost.log.protocols import Accepted
from roost.server.events import check_room, open_stream
from roost.server.request_body import MEDIA_BYTES
from roost.server.responses import Reply, ReplyCall, json
from roost.server.row_handler import Call, Endpoint, Nothing
from roost.server.shapes import AcceptedInput, ApprovalBody, EmitBody, MessageBody, PinBody, StreamQuery, TimerBody
from roost.server.turn_stream import TurnStream


async def say(call: Call[MessageBody, StreamQuery]) -> ReplyCall:
    if not call.wants_stream:
        accepted = await _send(call)
        return _accepted(accepted, await call.api.sessions.waits_for(call.session))
    check_room(call.api)
    sessions, session = call.api.sessions, call.session
    await sessions.demand_parts(session)  # else no event would ever come
    follower = sessions.listen(session)
    try:
        accepted = await _send(call)
        begun = await find_turn(sessions, session, accepted.id) if accepted.duplicate else None
        follower.after = accepted.head if begun is None else begun
        follower.behind = follower.behind or accepted.duplicate
        watch = TurnStream(sessions, session, accepted.id)
        return open_stream(call.api, session, after=follower, deltas=call.query.deltas, watch=watch)
    except BaseException:
        follower.close()
        raise


async def _send(call: Call[MessageBody, StreamQuery]) -> Accepted:
    body = call.body
    return await call.api.sessions.send(call.session, _parts(body), mode=body.mode, key=call.key, source=body.source)


async def approve(call: Call[ApprovalBody, Nothing]) -> Reply:
    body, asked = call.body, call.params["call"]
    return _accepted(
        await call.api.sessions.approve(
            call.session,
            asked,
            body.decision,
            note=body.note,
            arguments=body.arguments,
            always=body.always,
            scope=body.scope,
            asked=body.asked,
        )
    )


async def emit(call: Call[EmitBody, Nothing]) -> Reply:
    if not is_id(call.body.name):  # the body's pattern allows a final line break
        raise Invalid(f"{call.body.name!r} cannot name an event: use letters, digits and ._:- (at most 128)")
    return _accepted(await call.api.sessions.emit(call.session, call.body.name, call.body.data, key=call.key))


async def set_timer(call: Call[TimerBody, Nothing]) -> Reply:
    body, sessions = call.body, call.api.sessions
    timer = _timer(call.params["timer"])
    if (body.due is None) == (body.after is None):
        raise Invalid("give either `due` (seconds since 1970) or `in` (seconds from now)")
    if body.after is not None and call.key is not None:
        raise Invalid("with an Idempotency-Key give `due`: a repetition counts `in` from another moment")
    if not body.text.strip():
        raise Invalid("the message is empty", code="empty_message")
    due = body.due if body.due is not None else time.time() + (body.after or 0.0)
    return _accepted(await sessions.set_timer(call.session, timer, due, body.text, key=call.key))


async def clear_timer(call: Call[Nothing, Nothing]) -> Reply:
    timer = _timer(call.params["timer"])
    return _accepted(await call.api.sessions.clear_timer(call.session, timer))


async def pin(call: Call[PinBody, Nothing]) -> Reply:
    return _accepted(await call.api.sessions.pin(call.session, call.params["key"], call.body.text))


async def unpin(call: Call[Nothing, Nothing]) -> Reply:
    return _accepted(await call.api.sessions.pin(call.session, call.params["key"], None))


def _accepted(accepted: Accepted, waits_for: Sequence[str] = ()) -> Reply:
    answer = AcceptedInput(input=accepted.id, duplicate=accepted.duplicate, head=accepted.head)
    if waits_for:
        answer.waits_for = list(waits_for)
    return json(202, answer)


def _parts(body: MessageBody) -> list[UserPart]:
    if body.parts is not None and body.text is None:
        return body.parts
    if body.text is None or body.parts is not None:
        raise Invalid("give either `text` or `parts`")
    return [Text(body.text)]


def _timer(name: str) -> str:
    if not is_id(name):
        raise Invalid(f"{name!r} cannot name a timer: use letters, digits and ._:- (at most 128)")
    return name


ENDPOINTS = [
    Endpoint(
        method="POST",
        path="/sessions/{session}/messages",
        summary="Say something to the agent. As a stream: the events from here to the end of the turn that takes it in",
        handler=say,
        body=MessageBody,
        query=StreamQuery,
        answers={202: AcceptedInput},
        errors=(404, 409),
        keyed=True,
        streams=True,
        most=MEDIA_BYTES,
    ),
    Endpoint(
        method="POST",
        path="/sessions/{session}/approvals/{call:path}",
        summary="Answer a call that waits for a person",
        handler=approve,
        body=ApprovalBody,
        query=Nothing,
        answers={202: AcceptedInput},
        errors=(404, 409),
    ),
    Endpoint(
        method="POST",
        path="/sessions/{session}/emit",
        summary="Put a program's own event into the log",
        handler=emit,
        body=EmitBody,
        query=Nothing,
        answers={202: AcceptedInput},
        errors=(404, 409),
        keyed=True,
    ),
    Endpoint(
        method="PUT",
        path="/sessions/{session}/timers/{timer}",
        summary="Say something to the agent at a time, once, whatever crashes in between",
        handler=set_timer,
        body=TimerBody,
        query=Nothing,
        answers={202: AcceptedInput},
        errors=(404, 409),
        keyed=True,
    ),
    Endpoint(
        method="PUT",
        path="/sessions/{session}/pins/{key}",
        summary="Keep a text word for word, whatever leaves the model's context",
        handler=pin,
        body=PinBody,
        query=Nothing,
        answers={202: AcceptedInput},
        errors=(404,),
    ),
    Endpoint(
        method="DELETE",
        path="/sessions/{session}/pins/{key}",
        summary="Take a pin away",
        handler=unpin,
        body=Nothing,
        query=Nothing,
        answers={202: AcceptedInput},
        errors=(404,),
    ),
    Endpoint(
        method="DELETE",
        path="/sessions/{session}/timers/{timer}",
        summary="Clear a timer",
        handler=clear_timer,
        body=Nothing,
        query=Nothing,
        answers={202: AcceptedInput},
        errors=(404,),
    ),
]
