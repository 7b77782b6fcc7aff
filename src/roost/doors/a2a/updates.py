"""The updates of a task as a stream: the task as it is, pieces of its answer, and its last status."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, cast

import msgspec
from starlette.types import Receive, Scope, Send

from roost.doors.a2a.errors import rpc_error
from roost.doors.a2a.shapes import artifact
from roost.doors.a2a.tasks import Task, TaskId, read_task
from roost.doors.open_calls import OpenCalls, matters
from roost.doors.turn_reader import CallsWait, Piece, TurnEnd, TurnReader
from roost.kernel.turn_watch import Halted
from roost.log import events as ev
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
    beginning of the turn."""

    def __init__(
        self, api: Api, id: TaskId, context: str, follower: Follower, calls: OpenCalls, *, resumed: bool
    ) -> None:
        self.api, self.id, self.context = api, id, context
        self._follower, self._calls, self._resumed = follower, calls, resumed

    def close(self) -> None:
        self._follower.close()

    async def pieces(self, *, deltas: bool) -> AsyncIterator[str]:
        """Yield the text of the answer as it comes, until the task rests: it has ended, or waits for somebody. An empty
        piece is a sign of life."""
        sessions, session = self.api.sessions, self.id.session
        reader = TurnReader(sessions, session, self.id.item, resumed=self._resumed)
        stream = sessions.stream(session, after=self._follower, deltas=deltas, idle=PING_SECONDS)
        async with contextlib.aclosing(cast("AsyncGenerator[list[Frame], None]", stream)) as batches:
            async for frames in batches:
                texts: list[str] = []
                for frame in frames:
                    found = await reader.read([frame])
                    texts += [one.text for one in found if isinstance(one, Piece) and one.kind == "text"]
                    if found and isinstance(found[-1], TurnEnd | Halted | CallsWait):
                        yield "".join(texts)
                        return
                    if frame.seq is not None and matters(frame.body):
                        self._calls.follow(ev.decode_event(frame.body))
                        if self._calls.wait:
                            yield "".join(texts)
                            return
                yield "".join(texts)

    async def task(self) -> Task:
        return await read_task(self.api.sessions, self.id, self.context)


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
