"""A turn as the server-sent events of termo-agent: `token`, `thinking`, `tool_start`, `tool_end`, `progress`, `done`,
`error`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any, cast

import msgspec
from starlette.types import Receive, Scope, Send

from roost.doors.gateway import STREAM_HEADERS
from roost.doors.json_body import embedded
from roost.doors.open_calls import takes
from roost.doors.turn import Turn
from roost.doors.turn_reader import CallsWait, Piece, TurnEnd, TurnReader
from roost.kernel.turn_watch import Halted
from roost.log import events as ev
from roost.log.content import ResultPart, Text, ToolCall, Usage
from roost.log.frames import Frame
from roost.server.problems import Problem
from roost.server.stream import PING_SECONDS, Stream

_OUTPUT = 5000
"""Most characters of a tool's output in an event, as in termo-agent."""
_PING = b": ping\n\n"
_NOTED = (b'{"type":"model.completed"', b'{"type":"tool.completed"', b'{"type":"approval.requested"')


def event(kind: str, content: str = "", **fields: Any) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode({"type": kind, "content": content, **fields})


def usage_of(usage: Usage) -> dict[str, int]:
    return {"prompt_tokens": usage.input, "completion_tokens": usage.output}


class TurnStream(Stream):
    """The events of the turn that answers one message. A client that goes away stops nothing."""

    def __init__(self, turn: Turn) -> None:
        super().__init__(turn.api, turn.entered.session, turn.api.streams)
        self.headers = [*STREAM_HEADERS, *turn.headers]
        self._turn = turn
        self._names: dict[str, str] = {}
        self._taken = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._turn.entered.follower.close()

    async def pump(self, send: Send) -> Problem | None:
        entered, sessions = self._turn.entered, self.api.sessions
        reader = TurnReader(sessions, entered.session, entered.item, tail=entered.tail)
        stream = sessions.stream(entered.session, after=entered.follower, deltas=True, idle=PING_SECONDS)
        async with contextlib.aclosing(cast("AsyncGenerator[list[Frame], None]", stream)) as batches:
            async for frames in batches:
                chunks: list[bytes] = []
                for frame in frames or (None,):
                    found = await reader.read([] if frame is None else [frame])  # a silence is read, too
                    for one in found:
                        if isinstance(one, Piece):
                            chunks.append(event("token" if one.kind == "text" else "thinking", one.text))
                        elif not isinstance(one, CallsWait):
                            return await self._end(send, b"".join(chunks), one)
                    chunks.append(b"" if frame is None else self._note(frame))
                await self.give(send, b"".join(chunks) or _PING)
        return self._turn.problem(None)

    def _note(self, frame: Frame) -> bytes:
        """Return the events for an event of the log that is no piece of text."""
        self._taken = self._taken or takes(frame.body, self._turn.entered.item)
        if frame.seq is None or not self._taken or not frame.body.startswith(_NOTED):
            return b""
        match ev.decode_event(frame.body):
            case ev.ModelCompleted(parts=parts):
                calls = [part for part in parts if isinstance(part, ToolCall)]
                self._names |= {one.id: one.name for one in calls}
                return b"".join(event("tool_start", name=one.name, input=_input(one), call_id=one.id) for one in calls)
            case ev.ToolCompleted(call=call, parts=parts):
                return event("tool_end", name=self._names.get(call, ""), output=shown(parts)[:_OUTPUT], call_id=call)
            case ev.ApprovalRequested() as asked:
                return event("progress", f"waits for a person: {asked.name} {asked.arguments}: {asked.reason}")
            case _:
                return b""

    async def _end(self, send: Send, before: bytes, end: TurnEnd | Halted) -> Problem | None:
        problem = self._turn.problem(end)
        if problem is not None or isinstance(end, Halted):
            await self.give(send, before)
            return problem
        await self.give(send, before + event("done", end.answer, usage=usage_of(end.usage)))
        self._turn.delivered()
        return None

    def last(self, problem: Problem | None) -> bytes:
        return b"" if problem is None else event("error", problem.detail, code=problem.code)


def _input(call: ToolCall) -> msgspec.Raw | str:
    """Return the arguments of a call, as the text that the model wrote if that is no JSON."""
    return embedded(call.arguments) or call.arguments


def shown(parts: tuple[ResultPart, ...]) -> str:
    return "\n".join(part.text if isinstance(part, Text) else f"[{part.media_type}]" for part in parts)
