"""Agent mode: `model` names an agent. The conversation is a session, and each answer one turn of it. The agent's tools
run here. A client that goes away stops nothing."""

from __future__ import annotations

from typing import Any

from starlette.types import Receive, Scope, Send

from roost.doors.conversations import Conversations
from roost.doors.digests import call_id
from roost.doors.gateway import STREAM_HEADERS
from roost.doors.openai import chat_chunks
from roost.doors.openai.chat_chunks import DONE, Chunks, FinishReason
from roost.doors.openai.errors import error_of, refusal
from roost.doors.talk import Entered
from roost.doors.turn import Turn
from roost.doors.turn_reader import CallsWait, Piece, TurnEnd
from roost.doors.whole_reply import WholeReply
from roost.log.content import ToolCall
from roost.server.app_state import Api
from roost.server.problems import Problem
from roost.server.responses import Reply, json
from roost.server.stream import Stream

PING = b": ping\n\n"
STOPS: dict[str, FinishReason] = {"length": "length", "refusal": "content_filter"}


class ChatTurn(Turn):
    """A turn as the answer of chat completions."""

    def __init__(self, api: Api, conversations: Conversations, entered: Entered, model: str) -> None:
        super().__init__(api, conversations, entered, model)
        self.id = f"chatcmpl-{entered.session}-{entered.item}"

    def calls(self, end: TurnEnd | CallsWait) -> list[dict[str, Any]]:
        """Return the calls that the client is to run. Their ids name the session, so that the results find it."""
        calls = end.calls if isinstance(end, CallsWait) else ()
        ids = [call_id(self.entered.session, self.entered.item, one.call) for one in calls]
        return [chat_chunks.call(ToolCall(id, one.name, one.arguments)) for id, one in zip(ids, calls, strict=True)]


def finish_of(end: TurnEnd | CallsWait) -> FinishReason:
    if isinstance(end, CallsWait):
        return "tool_calls"
    return "length" if end.outcome == "limit" else STOPS.get(end.stop, "stop")


class TurnStream(Stream):
    """A turn as a stream of chunks."""

    def __init__(self, turn: ChatTurn, *, usage: bool) -> None:
        super().__init__(turn.api, turn.entered.session, turn.api.streams)
        self.headers = [*STREAM_HEADERS, *turn.headers]
        self._turn = turn
        self._chunks = Chunks(turn.id, turn.model, usage=usage)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._turn.entered.follower.close()

    async def pump(self, send: Send) -> Problem | None:
        chunks, end = self._chunks, None
        await self.give(send, chunks.first)
        async for batch in self._turn.read(deltas=True):
            pieces = [
                chunks.text(one.text) if one.kind == "text" else chunks.thinking(one.text)
                for one in batch
                if isinstance(one, Piece)
            ]
            if batch and not isinstance(batch[-1], Piece):
                end = batch[-1]
            if isinstance(end, TurnEnd | CallsWait) and self._turn.problem(end) is None:
                if calls := self._turn.calls(end):
                    pieces.append(chunks.delta({"tool_calls": [{"index": n, **one} for n, one in enumerate(calls)]}))
                pieces.append(chunks.end(finish_of(end), end.usage))
            await self.give(send, b"".join(pieces) or PING)
        self._turn.delivered()
        return self._turn.problem(end)

    def last(self, problem: Problem | None) -> bytes:
        return DONE if problem is None else chat_chunks.failure(error_of(problem))


def whole_turn(turn: ChatTurn) -> WholeReply:
    """Return a turn as one response, sent when it has ended."""

    def reply(end: TurnEnd | CallsWait) -> Reply:
        message: dict[str, Any] = {"content": end.answer, "refusal": None}
        if calls := turn.calls(end):
            message |= {"content": end.answer or None, "tool_calls": calls}
        if end.thinking:
            message["reasoning_content"] = end.thinking
        body = chat_chunks.whole(turn.id, turn.model, message, finish_of(end), end.usage)
        return json(200, body, headers=turn.headers)

    return turn.whole(reply, refusal)
