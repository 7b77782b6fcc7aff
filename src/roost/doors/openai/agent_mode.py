"""Agent mode: `model` names an agent. The conversation is a session, and each answer one turn of it. The agent's tools
run here. A client that goes away stops nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, cast

from starlette.types import Receive, Scope, Send

from roost.doors.conversations import Conversations
from roost.doors.digests import call_id
from roost.doors.openai import chat_chunks
from roost.doors.openai.chat_chunks import DONE, Chunks, FinishReason
from roost.doors.openai.errors import error_of, of_turn, refusal
from roost.doors.talk import Entered
from roost.doors.turn_reader import CallsWait, Piece, Read, TurnEnd, TurnReader
from roost.doors.whole_reply import WholeReply
from roost.kernel.turn_watch import Halted
from roost.log.content import ToolCall
from roost.log.frames import Frame
from roost.server.app_state import Api
from roost.server.problems import Problem, session_gone, session_halted, shutting_down
from roost.server.responses import Header, Reply, json
from roost.server.stream import PING_SECONDS, Stream

PING = b": ping\n\n"
STREAM_HEADERS: list[Header] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
STOPS: dict[str, FinishReason] = {"length": "length", "refusal": "content_filter"}


class Turn:
    """The turn of one accepted message, to be sent to its client."""

    def __init__(self, api: Api, conversations: Conversations, entered: Entered, model: str) -> None:
        self.api, self.entered, self.model = api, entered, model
        self._conversations = conversations
        self.id = f"chatcmpl-{entered.session}-{entered.item}"
        self.headers: list[Header] = [(b"roost-session", entered.session.encode())]

    async def read(self, *, deltas: bool) -> AsyncIterator[list[Read]]:
        """Yield what the turn says, until its end. An empty batch is a sign of life. Raises `RoostError`."""
        sessions, entered = self.api.sessions, self.entered
        reader = TurnReader(sessions, entered.session, entered.item, resumed=entered.said is not None)
        stream = sessions.stream(entered.session, after=entered.follower, deltas=deltas, idle=PING_SECONDS)
        async with contextlib.aclosing(cast("AsyncGenerator[list[Frame], None]", stream)) as batches:
            async for frames in batches:
                found = await reader.read(frames)
                yield found
                if found and not isinstance(last := found[-1], Piece):
                    if isinstance(last, TurnEnd):
                        failed = last.outcome == "failed"
                        self._conversations.ended(entered, last.answer, last.end, failed=failed)
                    return

    def problem(self, end: TurnEnd | CallsWait | Halted | None) -> Problem | None:
        """Return why there is no answer. None for `end`: the log ended."""
        if end is None:
            return shutting_down() if self.api.stopping else session_gone(self.entered.session)
        if isinstance(end, Halted):
            return session_halted(self.entered.session, end.state, end.reason)
        if isinstance(end, CallsWait):
            return None
        said = end.outcome == "answered" or (end.outcome == "limit" and end.answer)
        return None if said else of_turn(end.outcome, end.reason)

    def delivered(self) -> None:
        self._conversations.delivered(self.entered)

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

    def __init__(self, turn: Turn, *, usage: bool) -> None:
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


def whole_turn(turn: Turn) -> WholeReply:
    """Return a turn as one response, sent when it has ended."""

    def done(sent: bool) -> None:
        turn.entered.follower.close()
        if sent:
            turn.delivered()

    return WholeReply(turn.api, lambda: _whole(turn), lambda problem: refusal(problem, turn.headers), done)


async def _whole(turn: Turn) -> Reply:
    end = None
    async for batch in turn.read(deltas=False):
        if batch and not isinstance(batch[-1], Piece):
            end = batch[-1]
    if (problem := turn.problem(end)) is not None or not isinstance(end, TurnEnd | CallsWait):
        return refusal(problem or shutting_down(), turn.headers)
    message: dict[str, Any] = {"content": end.answer, "refusal": None}
    if calls := turn.calls(end):
        message |= {"content": end.answer or None, "tool_calls": calls}
    if end.thinking:
        message["reasoning_content"] = end.thinking
    body = chat_chunks.whole(turn.id, turn.model, message, finish_of(end), end.usage)
    return json(200, body, headers=turn.headers)
