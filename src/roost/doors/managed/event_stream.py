"""The stream of a session's events, as they happen."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

import msgspec
from starlette.types import Send

from roost.doors.anthropic.errors import error_of, refusal, request_id
from roost.doors.managed.event_list import answer_below, awaited_answer, quiet_before, with_inputs
from roost.doors.managed.event_reader import EventIds, EventReader, Shown
from roost.doors.managed.requests import stamp
from roost.kernel.sessions import Sessions
from roost.log import events as ev
from roost.log.frames import Delta, Frame
from roost.log.protocols import Record
from roost.server.app_state import Api
from roost.server.problems import Problem, shutting_down
from roost.server.responses import Header
from roost.server.stream import PING_SECONDS, Stream

MESSAGES, THOUGHTS = "agent.message", "agent.thinking"
_PAGE = 1000
_FULL = 500
"""Frames of a batch that may be followed by more of the same commit."""
_PING = b"event: ping\ndata: {}\n\n"
_DELTA, _ENDED = b'{"type":"delta"', b'{"type":"child.ended"'
_delta = msgspec.json.Decoder(Delta)


async def reader_at(sessions: Sessions, session: str, position: int) -> EventReader:
    """Return a reader that has read the log up to a position."""
    quiet = await quiet_before(sessions, session, position)
    reader, after = EventReader(session), quiet
    while after < position and (page := await sessions.history(session, after=after, limit=_PAGE)):
        for record in page:
            if record.seq <= position:
                reader.read(record)
        after = page[-1].seq
    for id, below in list(reader.below.items()):
        if (answer := await answer_below(sessions, below)) is not None:
            reader.answered_below(id, answer)
    return reader


class Previews:
    """Previews of what the agent is saying, of the kinds that a client asked for. They are best effort: the finished
    event has everything."""

    def __init__(self, session: str, wanted: Sequence[str]) -> None:
        self._ids, self._wanted = EventIds(session), wanted
        self._begun: dict[str, int] = {}
        self._step = 0

    def read(self, body: bytes) -> list[Shown]:
        delta = _delta.decode(body)
        kind = {"text": MESSAGES, "thinking": THOUGHTS}.get(delta.kind, "")
        if kind not in self._wanted:
            return []
        if delta.step != self._step:
            self._step, self._begun = delta.step, {}
        id = self._ids.said(delta.step) if kind == MESSAGES else self._ids.thought(delta.step)
        found: list[Shown] = []
        if id not in self._begun:
            self._begun[id] = 0
            found.append({"type": "event_start", "event": {"type": kind, "id": id}})
        if kind == MESSAGES and delta.offset == self._begun[id]:  # else the answer began again
            self._begun[id] += len(delta.text)
            piece = {"type": "content_delta", "index": 0, "content": {"type": "text", "text": delta.text}}
            found.append({"type": "event_delta", "event_id": id, "delta": piece})
        return found


class SessionStream(Stream):
    """The events of a session behind a position, until the client leaves or the session is deleted."""

    def __init__(self, api: Api, session: str, after: int, wanted: Sequence[str]) -> None:
        super().__init__(api, session, api.streams, lambda problem: refusal(problem, []))
        headers: list[Header] = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        self.headers = [*headers, request_id()]
        self._after = after
        self._previews = Previews(session, wanted) if wanted else None
        self._below: dict[str, asyncio.Task[ev.ApprovalResolved | None]] = {}
        """Wait for the answers to the questions of threads, by the ids of their events."""
        self._next: asyncio.Task[list[Frame] | None] | None = None

    async def pump(self, send: Send) -> Problem | None:
        sessions, session = self.api.sessions, self.session
        reader = await reader_at(sessions, session, self._after)
        frames = sessions.stream(session, after=self._after, deltas=self._previews is not None, idle=PING_SECONDS)
        await self.give(send, _PING)
        async with contextlib.aclosing(cast("AsyncGenerator[list[Frame]]", frames)) as batches:
            try:
                while (batch := await self._batch(batches, reader)) is not None:
                    answered = await self._answered(reader, batch)
                    shown = [*answered, *(one for frame in batch for one in self._shown(reader, frame))]
                    if len(batch) < _FULL:
                        shown += reader.flush()
                    await with_inputs(sessions, shown)
                    if shown or not batch:
                        await self.give(send, b"".join(map(encoded, shown)) or _PING)
            finally:
                await self._stop_waiting()
        if self.api.stopping:
            return shutting_down()
        at = stamp(0.0)
        await self.give(send, encoded({"id": EventIds(session).at(0), "type": "session.deleted", "processed_at": at}))
        return None

    async def _batch(self, batches: AsyncGenerator[list[Frame]], reader: EventReader) -> list[Frame] | None:
        """Return what comes next, nothing when a thread was answered first; None at the end."""
        for id in [one for one in self._below if one not in reader.below]:
            self._below.pop(id).cancel()
        for id, below in reader.below.items():
            if id not in self._below:
                self._below[id] = asyncio.create_task(awaited_answer(self.api.sessions, below))
        if not self._below and self._next is None:
            return await anext(batches, None)
        self._next = self._next or asyncio.create_task(_next_of(batches))
        await asyncio.wait([self._next, *self._below.values()], return_when=asyncio.FIRST_COMPLETED)
        if not self._next.done():
            return []
        done, self._next = self._next, None
        return done.result()

    async def _answered(self, reader: EventReader, batch: Sequence[Frame]) -> list[Shown]:
        """Return the events of the answers that threads have got. A thread that ends may have had one just before."""
        found: list[Shown] = []
        if reader.below and any(frame.body.startswith(_ENDED) for frame in batch):
            for id, below in list(reader.below.items()):
                if (answer := await answer_below(self.api.sessions, below)) is not None:
                    found += reader.answered_below(id, answer)
        for id, waiting in list(self._below.items()):
            if waiting.done():
                del self._below[id]
                if (answer := waiting.result()) is not None:
                    found += reader.answered_below(id, answer)
                else:
                    reader.below.pop(id, None)
        return found

    async def _stop_waiting(self) -> None:
        tasks = [*self._below.values(), *([self._next] if self._next is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _shown(self, reader: EventReader, frame: Frame) -> list[Shown]:
        if frame.seq is not None:
            return reader.read(Record(frame.seq, frame.body))
        if self._previews is not None and frame.body.startswith(_DELTA):
            return self._previews.read(frame.body)
        return []

    def last(self, problem: Problem | None) -> bytes:
        if problem is None:
            return b""
        body: dict[str, Any] = {"type": "error", "error": error_of(problem)}
        return b"event: error\ndata: %b\n\n" % msgspec.json.encode(body)


async def _next_of(batches: AsyncGenerator[list[Frame]]) -> list[Frame] | None:
    return await anext(batches, None)


def encoded(one: Shown) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (one["type"].encode(), msgspec.json.encode(one))
