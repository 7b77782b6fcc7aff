"""The updates of a task as a stream: the task as it is, pieces of its answer, and its last status."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, cast

import msgspec
from starlette.types import Receive, Scope, Send

from roost.doors.a2a.errors import rpc_error
from roost.doors.a2a.shapes import artifact
from roost.doors.a2a.tasks import Task, TaskId, ended, read_task
from roost.doors.log_end import LogTail
from roost.doors.open_calls import OpenCalls, matters, takes
from roost.doors.turn_reader import CallsWait, Piece, TurnEnd, TurnReader
from roost.kernel.turn_watch import Halted
from roost.log import events as ev
from roost.log.content import UserPart
from roost.log.frames import Frame
from roost.log.tail import Follower
from roost.server.app_state import Api
from roost.server.problems import Problem, session_gone, shutting_down
from roost.server.responses import Header
from roost.server.stream import PING_SECONDS, Stream

_PING = b": ping\n\n"
_HEADERS: list[Header] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class Work:
    """A task under way. follower: of what comes; closed by `close`. calls: the open calls there. resumed: not the
    beginning of the turn. parts: of the message that begins it. history: the most messages
    to tell."""

    def __init__(
        self,
        api: Api,
        id: TaskId,
        context: str,
        follower: Follower,
        calls: OpenCalls,
        parts: Sequence[UserPart] = (),
        *,
        resumed: bool = False,
        history: int | None = None,
        tail: LogTail | None = None,
    ) -> None:
        self.api, self.id, self.context, self.history = api, id, context, history
        self._follower, self._calls, self._parts, self._resumed = follower, calls, parts, resumed
        self._end: TurnEnd | None = None
        self._tail = tail
        self._begun = resumed

    @property
    def fresh(self) -> Task | None:
        """The task, if its message has just come and no turn can have taken it in before. Else None."""
        if self._resumed or self._follower.behind:
            return None
        return Task(self.id, self.context, "SUBMITTED", False, self._parts)

    def close(self) -> None:
        self._follower.close()

    async def pieces(self, *, deltas: bool) -> AsyncIterator[str]:
        """Yield the text of the answer as it comes, until the task rests: it has ended, or waits for somebody. An empty
        piece is a sign of life."""
        sessions, session = self.api.sessions, self.id.session
        reader = TurnReader(sessions, session, self.id.item, resumed=self._resumed, tail=self._tail)
        stream = sessions.stream(session, after=self._follower, deltas=deltas, idle=PING_SECONDS)
        async with contextlib.aclosing(cast("AsyncGenerator[list[Frame], None]", stream)) as batches:
            async for frames in batches:
                texts: list[str] = []
                for frame in frames or (None,):
                    found = await reader.read([] if frame is None else [frame])  # a silence is read, too
                    texts += [one.text for one in found if isinstance(one, Piece) and one.kind == "text"]
                    rests = bool(found) and isinstance(found[-1], TurnEnd | Halted | CallsWait)
                    self._begun = self._begun or (frame is not None and takes(frame.body, self.id.item))
                    if frame is not None and frame.seq is not None and matters(frame.body) and not rests:
                        self._calls.follow(ev.decode_event(frame.body), frame.seq)
                        rests = self._begun and self._calls.wait
                    if rests:
                        self._end = found[-1] if found and isinstance(found[-1], TurnEnd) else None
                        yield "".join(texts)
                        return
                yield "".join(texts)

    async def task(self) -> Task:
        """Return the task as it is now: without a look into the log, where its end was just read whole."""
        end = self._end
        if end is None or self._resumed:
            return await read_task(self.api.runtime, self.id, self.context)
        return Task(
            self.id, self.context, ended(end.outcome, end.answer), True, self._parts, "", end.answer, end.reason
        )


class TaskStream(Stream):
    """The updates of a task. wrap: puts an update, or an error, into the shape of the binding. A client that goes away
    stops nothing, and subscribes again. first: the task as it is."""

    def __init__(self, work: Work, first: Task, wrap: Callable[[str, Any], Any]) -> None:
        super().__init__(work.api, work.id.session, work.api.streams)
        self.headers = [*_HEADERS, (b"roost-session", work.id.session.encode())]
        self._work, self._told, self._wrap = work, first, wrap

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._work.close()

    async def pump(self, send: Send) -> Problem | None:
        work, told = self._work, self._told
        await self.give(send, self._update("task", told.shape(artifacts=told.ended)))
        if told.ended:
            return None
        ids = {"taskId": str(work.id), "contextId": work.context}
        said = False
        async for text in work.pieces(deltas=True):
            if text:
                piece = {**ids, "artifact": artifact(text), "append": said}
                said = True
                await self.give(send, self._update("artifactUpdate", piece))
            else:
                await self.give(send, _PING)
        if self.api.stopping:
            return shutting_down()
        try:
            now = await work.task()
        except Exception:
            return session_gone(self.session)
        await self.give(send, self._update("statusUpdate", {**ids, "status": now.shape()["status"]}))
        return None

    def _update(self, kind: str, value: Any) -> bytes:
        return b"data: %b\n\n" % msgspec.json.encode(self._wrap("result", {kind: value}))

    def last(self, problem: Problem | None) -> bytes:
        if problem is None:
            return b""
        return b"data: %b\n\n" % msgspec.json.encode(self._wrap("error", rpc_error(problem)))
