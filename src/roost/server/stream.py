"""Streaming responses, and sessions as Server-Sent Events."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from roost.authority import current
from roost.log.frames import Frame
from roost.log.tail import Follower
from roost.server.app_state import Api, Endable
from roost.server.problems import Problem, problem_of, session_gone, shutting_down, token_ended
from roost.server.responses import Header, Reply, encode

log = logging.getLogger("roost.server")
PING_SECONDS = 15.0
_CHUNK = 64 * 1024
_KIND = len(b'{"type":"')
_PING = b": ping\n\n"
_HEADERS: list[Header] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class Watch(Protocol):
    """Decide when a stream ends."""

    async def cut(self, batch: list[Frame]) -> tuple[list[Frame], bool, Problem | None]:
        """Return (the part of the batch to send, whether the stream ends, the problem to end with)."""
        ...


class Stream(ABC):
    """A streaming response, one of those in `among`. Ends when the client leaves, when `pump` returns, and when the
    daemon stops. A client that reads nothing for `patience` seconds is disconnected. refusal: makes the response for a
    problem before the first chunk; the head then waits for that chunk. Without it the head is sent at once."""

    status = 200
    headers: Sequence[Header] = ()
    patience = 60.0

    def __init__(
        self, api: Api, session: str, among: set[Endable], refusal: Callable[[Problem], Reply] | None = None
    ) -> None:
        self.api, self.authority = api, current()
        self.session = session
        self._among = among
        self._refusal = refusal
        self._scope: asyncio.Timeout | None = None
        self._ended = False
        self._stalled = False
        self._begun = False
        self._giving: float | None = None
        self._looking: asyncio.TimerHandle | None = None

    @abstractmethod
    async def pump(self, send: Send) -> Problem | None:
        """Send the content with `give`. Returns the problem to end with, if any."""

    @abstractmethod
    def last(self, problem: Problem | None) -> bytes:
        """Return the last bytes of the body."""

    def end(self) -> None:
        """End the stream from outside."""
        self._ended = True
        if self._scope is not None and not self._scope.expired():
            with contextlib.suppress(RuntimeError):  # it ends by itself at this moment
                self._scope.reschedule(asyncio.get_running_loop().time())

    async def give(self, send: Send, chunk: bytes) -> None:
        self._giving = self._loop.time()
        await self._begin(send)
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        self._giving = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._loop = asyncio.get_running_loop()
        gone = self._loop.create_task(self._until_gone(receive))
        self._among.add(self)
        self._look()
        try:
            if self._refusal is None:
                await self._begin(send)
            await self._run(scope, receive, send, gone)
        except TimeoutError:
            log.warning("session %s: a reader that took nothing for %g s was cut off", self.session, self.patience)
            _abort(send)
            await asyncio.sleep(0)  # lets the server notice before this returns
        finally:
            self._among.discard(self)
            gone.cancel()
            if self._looking is not None:
                self._looking.cancel()

    async def _begin(self, send: Send) -> None:
        if not self._begun:
            self._begun = True
            await send({"type": "http.response.start", "status": self.status, "headers": self.headers})

    def _look(self) -> None:
        """Disconnect a client that has not read the present chunk for `patience` seconds. There is one timer per
        stream, not one per chunk."""
        now = self._loop.time()
        since = now if self._giving is None else self._giving
        if self._stalled or now - since >= self.patience:
            self._stalled = True
            self.end()
        else:
            self._looking = self._loop.call_at(since + self.patience, self._look)

    async def _run(self, scope: Scope, receive: Receive, send: Send, gone: asyncio.Task[None]) -> None:
        cut = asyncio.timeout(0 if self._ended else None)
        try:
            async with cut:
                self._scope = cut
                problem = await self.pump(send)
        except TimeoutError:
            if self._stalled or not cut.expired():
                raise
            problem = shutting_down() if self.api.stopping else token_ended()
        except Exception as error:  # a defect too ends the stream as its protocol says it
            problem = problem_of(error, f"{scope['method']} {scope['path']}")
        if gone.done():
            return
        async with asyncio.timeout(1.0):
            if problem is not None and self._refusal is not None and not self._begun:
                await self._refusal(problem)(scope, receive, send)
                return
            await self._begin(send)
            await send({"type": "http.response.body", "body": self.last(problem)})

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end()


class EventStream(Stream):
    """Stream a session's events. Also ends when `watch` decides, and when the session is deleted. A disconnected client
    resumes with the number of its last event."""

    headers = _HEADERS

    def __init__(
        self,
        api: Api,
        session: str,
        frames: AsyncGenerator[list[Frame], None],
        watch: Watch | None = None,
        follower: Follower | None = None,
    ) -> None:
        super().__init__(api, session, api.streams)
        self._frames = frames
        self._watch = watch
        self._follower = follower

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._follower is not None:  # the frames close it only once their iteration has begun
                self._follower.close()

    async def pump(self, send: Send) -> Problem | None:
        async with contextlib.aclosing(self._frames) as batches:
            async for frames in batches:
                batch, last, problem = frames, False, None
                if self._watch is not None:
                    batch, last, problem = await self._watch.cut(frames)
                for chunk in chunks(batch):
                    await self.give(send, chunk)
                if last:
                    return problem
        return shutting_down() if self.api.stopping else session_gone(self.session)

    def last(self, problem: Problem | None) -> bytes:
        return b"" if problem is None else b"event: problem\ndata: %b\n\n" % encode(problem)


def chunks(frames: Sequence[Frame]) -> Iterator[bytes]:
    """Encode frames as chunks of bytes, many frames to a chunk. An empty batch becomes a sign of life."""
    if not frames:
        yield _PING
        return
    parts: list[bytes] = []
    size = 0
    for frame in frames:
        parts.append(encode_frame(frame))
        size += len(parts[-1])
        if size >= _CHUNK:
            yield b"".join(parts)
            parts.clear()
            size = 0
    if parts:
        yield b"".join(parts)


def encode_frame(frame: Frame) -> bytes:
    """Encode a frame. Only events of the log have an `id`, with which a client resumes."""
    seq, body = frame
    kind = body[_KIND : body.index(b'"', _KIND)]
    if seq is None:
        return b"event: %b\ndata: %b\n\n" % (kind, body)
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (seq, kind, body)


def _abort(send: Any) -> None:
    """Drop the connection: closing it would wait for the client to read the buffer, which it does not. uvicorn's `send`
    is a method of the connection's owner; with another server, the server closes in its own way."""
    transport: Any = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()
