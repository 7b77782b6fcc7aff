"""A run: a turn of a session, or the part of it that follows the answers to calls, as a stream of AG-UI events."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple, cast

from starlette.types import Receive, Scope, Send

from roost.doors.agui.events import VERSION, Words, event, interrupt, usage_of
from roost.doors.agui.run_input import News, RunInput
from roost.doors.digests import call_id
from roost.doors.failures import of_turn
from roost.doors.open_calls import OpenCalls, matters, takes
from roost.doors.talk import Entered
from roost.doors.turn_reader import CallsWait, Piece, Read, TurnEnd, TurnReader
from roost.kernel.turn_watch import Halted
from roost.log import events as ev
from roost.log.content import ToolCall, Usage
from roost.log.frames import Frame
from roost.server.app_state import Api
from roost.server.problems import Problem, session_gone, session_halted, shutting_down
from roost.server.responses import Header
from roost.server.stream import PING_SECONDS, Stream

_PING = b": ping\n\n"
_HEADERS: list[Header] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class Run(NamedTuple):
    """An accepted run. calls: the open calls where its part of the turn begins. resumed: that is not the turn's
    beginning. given: the calls whose results came with it. told: all that the follower brings is of this run; else it
    begins where the turn takes the message in."""

    input: RunInput
    news: News
    entered: Entered
    calls: OpenCalls
    resumed: bool
    given: frozenset[str]
    told: bool


class RunStream(Stream):
    """The events of a run, in the order and the form that clients of AG-UI verify. A client that goes away stops
    nothing."""

    def __init__(self, api: Api, run: Run) -> None:
        super().__init__(api, run.entered.session, api.streams)
        self.headers = [*_HEADERS, (b"roost-session", run.entered.session.encode())]
        self._turn, self._told = run, run.told
        self._words = Words(run.input.run_id)
        self._usage = Usage(cost=0)
        self._ids: dict[str, Any] = {"threadId": run.input.thread_id, "runId": run.input.run_id}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._turn.entered.follower.close()

    async def pump(self, send: Send) -> Problem | None:
        run, sessions = self._turn, self.api.sessions
        session = run.entered.session
        await self.give(send, self._first())
        entered = run.entered
        reader = TurnReader(sessions, session, entered.item, resumed=run.resumed, separator="", tail=entered.tail)
        stream = sessions.stream(session, after=run.entered.follower, deltas=True, idle=PING_SECONDS)
        async with contextlib.aclosing(cast("AsyncGenerator[list[Frame], None]", stream)) as batches:
            async for frames in batches:
                pieces: list[bytes] = []
                for frame in frames or (None,):
                    found = await reader.read([] if frame is None else [frame])  # a silence is read, too
                    pieces += [self._words.say(one.kind, one.step, one.text) for one in found if isinstance(one, Piece)]
                    if found and isinstance(last := found[-1], TurnEnd | Halted):
                        await self.give(send, b"".join((*pieces, self._words.close())))
                        return await self._end(send, last)
                    pieces.append(b"" if frame is None else self._note(frame))
                    if (self._told and run.calls.wait) or _hands_over(found):
                        await self.give(send, b"".join((*pieces, self._waits())))
                        return None
                await self.give(send, b"".join(pieces) or _PING)
        return shutting_down() if self.api.stopping else session_gone(session)

    def _first(self) -> bytes:
        """Return the first events. A client that sends the run again has a part of it: it gets its messages as they
        were before the run, and then the whole run."""
        run = self._turn
        first = event("RUN_STARTED", **self._ids, protocolVersion=VERSION)
        if not run.news.own:
            return first
        blank = [{"id": id, "role": "reasoning", "content": ""} for id in run.news.own if id.endswith("/thinking")]
        return first + event("MESSAGES_SNAPSHOT", messages=[*run.news.earlier, *blank])

    def _note(self, frame: Frame) -> bytes:
        """Return the events for an event of the log that is no piece of text."""
        self._told = self._told or takes(frame.body, self._turn.entered.item)
        if frame.seq is None or not matters(frame.body):
            return b""
        found = ev.decode_event(frame.body)
        self._turn.calls.follow(found, frame.seq)
        if not self._told:
            return b""
        if isinstance(found, ev.ModelCompleted):
            self._usage += found.usage
            calls = [part for part in found.parts if isinstance(part, ToolCall)]
            told = [self._words.call(found.step, self._call(one.id), one) for one in calls]
            return b"".join((self._words.close(), *told))
        if isinstance(found, ev.ToolCompleted) and found.call not in self._turn.given:
            return self._words.close() + self._words.result(self._call(found.call), found.parts)
        return b""

    def _call(self, id: str) -> str:
        return call_id(self._turn.entered.session, self._turn.entered.item, id)

    def _waits(self) -> bytes:
        """Return the end of a run that goes on once somebody has acted."""
        calls = self._turn.calls
        if calls.asked:
            asked = [interrupt(self._call(id), one) for id, one in calls.asked.items()]
            outcome: dict[str, Any] = {"type": "interrupt", "interrupts": asked}
        else:
            outcome = {"type": "success", "pendingToolCallIds": [self._call(id) for id in calls.handed]}
        return self._words.close() + self._finished(outcome)

    def _finished(self, outcome: dict[str, Any], **fields: Any) -> bytes:
        return event("RUN_FINISHED", **self._ids, outcome=outcome, usage=usage_of(self._usage), **fields)

    async def _end(self, send: Send, end: TurnEnd | Halted) -> Problem | None:
        if isinstance(end, Halted):
            return session_halted(self.session, end.state, end.reason)
        if end.outcome == "cancelled":
            await self.give(send, self._finished({"type": "cancelled"}))
        elif end.outcome == "answered" or (end.outcome == "limit" and end.answer):
            more = {"metadata": {"roost": {"limit": end.reason}}} if end.outcome == "limit" else {}
            await self.give(send, self._finished({"type": "success"}, **more))
        else:
            return of_turn(end.outcome, end.reason)
        return None

    def last(self, problem: Problem | None) -> bytes:
        if problem is None:
            return b""
        usage = usage_of(self._usage)
        return self._words.close() + event("RUN_ERROR", message=problem.detail, code=problem.code, usage=usage)


def _hands_over(found: list[Read]) -> bool:
    return bool(found) and isinstance(found[-1], CallsWait)
