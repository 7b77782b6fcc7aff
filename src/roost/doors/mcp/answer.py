"""Responses of the door: one JSON document, or a stream of Server-Sent Events once something is told before it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from starlette.types import Receive, Scope, Send

from roost.doors.mcp.exchange import Exchange
from roost.doors.mcp.refusal import refusal
from roost.doors.mcp.wire import INTERNAL, Failure, Id, Json, encode, failure_of, response
from roost.errors import RoostError
from roost.server.app_state import Api
from roost.server.problems import Problem, problem_of
from roost.server.responses import Header
from roost.server.stream import PING_SECONDS, Stream

SSE: list[Header] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
PING = b": ping\n\n"
_ROOM = 64
"""Messages that wait for a slow reader before the handler does."""


def event(message: Json) -> bytes:
    return b"event: message\ndata: %b\n\n" % encode(message)


class _Line:
    """Messages on their way to the client. `put` waits while `_ROOM` of them are unsent."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._closed = False

    async def put(self, chunk: bytes) -> None:
        self._waiting.append(chunk)
        self._news.set()
        while len(self._waiting) >= _ROOM and not self._closed:
            self._room.clear()
            await self._room.wait()

    def close(self) -> None:
        self._closed = True
        self._news.set()

    async def next(self) -> bytes | None:
        """Return the next message; None at the end, a ping after a while without any."""
        while not self._waiting:
            if self._closed:
                return None
            self._news.clear()
            try:
                async with asyncio.timeout(PING_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                return PING
        self._room.set()
        return self._waiting.popleft()


class Answer(Stream):
    """The response to a request. `work` makes the result. modern: errors have a status of their own, and a client that
    leaves cancels its request. streams: the client takes a stream. headers: of the response."""

    def __init__(
        self,
        api: Api,
        id: Id,
        *,
        modern: bool,
        streams: bool = True,
        headers: Sequence[Header] = (),
        farewell: Json | None = None,
    ) -> None:
        super().__init__(api, "mcp", api.streams, lambda problem: refusal(problem, headers, id))
        self._id, self._modern, self._takes_stream = id, modern, streams
        self._line = _Line()
        self._own = headers
        self._farewell = farewell
        self._final = b""
        self._finished = False
        self._outcome: tuple[int, Json] | None = None
        self._working: asyncio.Task[None] | None = None
        self.exchange: Exchange | None = None
        self.work: Callable[[], Awaitable[Json]]

    async def tell(self, message: Json) -> None:
        """Send a message before the response."""
        if self._takes_stream:
            await self._line.put(event(message))

    async def mark(self, id: str) -> None:
        """Give the client an id from which it can go on after a break."""
        if self._takes_stream:
            await self._line.put(b"id: %b\ndata: \n\n" % id.encode())

    def cancel(self) -> None:
        """End without a response, by the client's order."""
        if self._working is not None:
            self._working.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._where = f"{scope['method']} {scope['path']}"
        self.headers = [*SSE, *self._own]
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._modern and not self._finished and not self.api.stopping:
                await self._abandon()

    async def _abandon(self) -> None:
        if self.exchange is None or self.exchange.abandoned is None:
            return
        try:
            await asyncio.shield(self.exchange.abandoned())
        except RoostError:  # the turn has ended, or the store fails: nothing to cancel then
            pass

    async def pump(self, send: Send) -> Problem | None:
        self._working = working = asyncio.create_task(self._work())
        try:
            while (chunk := await self._line.next()) is not None:
                if chunk is not PING or self._takes_stream:
                    await self.give(send, chunk)
        finally:
            self._line.close()
            working.cancel()
            await asyncio.wait([working])
        self._conclude()
        return None

    async def _work(self) -> None:
        try:
            self._outcome = 200, response(self._id, await self.work())
        except Failure as failure:
            self._outcome = self._failed(failure)
        except RoostError as error:
            self._outcome = self._failed(failure_of(error))
        except Exception as error:  # a defect too becomes the client's error and the operator's log line
            self._outcome = self._failed(Failure(INTERNAL, problem_of(error, self._where).detail))
        finally:
            self._line.close()

    def _failed(self, failure: Failure) -> tuple[int, Json]:
        return (failure.status if self._modern else 200), failure.body(self._id, self.api.sessions.scrubbed)

    def _conclude(self) -> None:
        self._finished = True
        if self._outcome is None:  # cancelled: no response is expected
            return
        status, body = self._outcome
        if self._begun:
            self._final = event(body)
            return
        self._final = encode(body)
        length = b"%d" % len(self._final)
        self.status = status
        self.headers = [(b"content-type", b"application/json"), (b"content-length", length), *self._own]

    def last(self, problem: Problem | None) -> bytes:
        if problem is None:
            return self._final
        if self.api.stopping and self._farewell is not None:
            return event(response(self._id, self._farewell))
        failed = Failure(INTERNAL, problem.detail, {"code": problem.code})
        return event(failed.body(self._id, self.api.sessions.scrubbed))


class Standing(Stream):
    """A stream of what a client watches, outside its requests. `work` runs until the stream ends."""

    headers = SSE

    def __init__(self, api: Api, work: Callable[[Callable[[Json], Awaitable[None]]], Awaitable[None]]) -> None:
        super().__init__(api, "mcp", api.streams)
        self._work, self._line = work, _Line()

    async def pump(self, send: Send) -> Problem | None:
        await self.give(send, PING)
        working = asyncio.create_task(self._watch())
        try:
            while (chunk := await self._line.next()) is not None:
                await self.give(send, chunk)
        finally:
            self._line.close()
            working.cancel()
            await asyncio.wait([working])
        return None

    async def _watch(self) -> None:
        async def tell(message: Json) -> None:
            await self._line.put(event(message))

        try:
            await self._work(tell)
        except RoostError:  # the store fails: the client opens the stream again
            pass
        finally:
            self._line.close()

    def last(self, problem: Problem | None) -> bytes:
        return b""
