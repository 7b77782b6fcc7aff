"""The events of a session, live, as clients of the Agents API read them.

A stream begins with the session's present status and goes on with what happens. An event's id names its position in the
log, so a client that sends the last one it has (`Last-Event-ID`) gets all that followed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any, NamedTuple, cast

import msgspec
from starlette.types import Receive, Scope, Send

from roost.doors.openai.errors import error_of
from roost.doors.openai_agents import session_view
from roost.doors.openai_agents.context import Context
from roost.doors.openai_agents.history import History
from roost.doors.openai_agents.log_reader import READ, LogReader, Names, Told
from roost.doors.openai_agents.records import SessionRecord
from roost.doors.openai_agents.step_text import had_by
from roost.doors.openai_agents.subagents import subagent
from roost.errors import Invalid
from roost.log import events as ev
from roost.log.frames import Delta, Frame
from roost.log.tail import Follower
from roost.server.problems import Problem, session_gone, shutting_down
from roost.server.responses import Header
from roost.server.stream import PING_SECONDS, Stream

PING = b": ping\n"
"""Without an empty line: behind an event with an id, OpenAI's library takes a lone comment for an event."""
_HEADERS: list[Header] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
_DELTA = b'{"type":"delta"'
_FULL = 500
"""Frames of a batch that may be followed by more of the same commit."""
_STATUS = ("in_progress", "requires_action", "idle", "failed")
_ORDINARY = tuple(
    ev.beginning_of(kind)
    for kind in (
        ev.InputReceived,
        ev.TurnStarted,
        ev.ModelStarted,
        ev.ModelCompleted,
        ev.ModelFailed,
        ev.ModelNotice,
        ev.ToolStarted,
        ev.ToolCompleted,
        ev.ApprovalRequested,
        ev.ApprovalResolved,
        ev.TurnCompleted,
    )
)
"""How the events begin of which a session shows nothing after the turn, but for what `TurnCompleted` says."""
_delta = msgspec.json.Decoder(Delta)


class Last(NamedTuple):
    """The last event that a client has: the position in the log and its key there."""

    seq: int
    key: str


def last_of(session: str, id: str) -> Last:
    """Return what the id of an event names. Raises `Invalid`."""
    seq, _, key = id.removeprefix(f"evt_{session}_").partition(".")
    if not id.startswith(f"evt_{session}_") or not (seq.isascii() and seq.isdigit() and len(seq) < 19):
        raise Invalid(f"Last-Event-ID: {id[:200]!r} is no event of this session")
    return Last(int(seq), key)


class SessionEvents(Stream):
    """The stream. follower: of the session's log, from `start` on. created: the session was made by this request. last:
    the last event that the client has."""

    headers = _HEADERS

    def __init__(
        self,
        context: Context,
        record: SessionRecord,
        follower: Follower,
        start: int,
        *,
        url: str,
        created: bool = False,
        last: Last | None = None,
    ) -> None:
        super().__init__(context.api, record.id, context.api.streams)
        self._context, self._record, self._url = context, record, url
        self._follower, self._start, self._created, self._last = follower, start, created, last
        self._reader = LogReader(Names(record.id, record.id, record.agent_id))
        self._numbers: tuple[int, int] = (0, 0)
        self._idle: dict[str, Any] | None = None
        self._standing: session_view.Standing | None = None
        self._delta: tuple[dict[str, Any], bytes, bytes] | None = None
        """The fields of the newest delta, and how it is encoded around its id and its text."""
        self._rested: session_view.Now | None = None
        """The session as it was when it was idle last, unless the log has said since what changes more than a turn."""
        self._passed = False
        """Whether the last event that the client has was told."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._follower.close()

    async def pump(self, send: Send) -> Problem | None:
        await self._catch_up(send)
        if self._last is None:
            await self.give(send, await self._present())
        sessions = self._context.sessions
        stream = sessions.stream(self.session, after=self._follower, deltas=True, idle=PING_SECONDS)
        async with contextlib.aclosing(cast("AsyncGenerator[list[Frame], None]", stream)) as batches:
            async for frames in batches:
                told: list[Told] = []
                for seq, body in frames:
                    if seq is not None:
                        told += self._read(seq, body)
                    elif body.startswith(_DELTA):
                        told += self._reader.hear(_delta.decode(body))
                if len(frames) < _FULL:
                    told += self._reader.flush()
                await self.give(send, await self._encoded(self._unheard(told)) if frames else PING)
        return shutting_down() if self.api.stopping else session_gone(self.session)

    async def _catch_up(self, send: Send) -> None:
        """Read up to where the stream begins, and tell what the client does not have of it."""
        history = History(self._context.sessions, self._reader.names)
        newest = await history.turn_before(self._start)
        after = newest if self._last is None else await history.turn_before(self._last.seq) or 0
        self._reader.text.had = None if self._last is None else had_by(self._last.key)
        self._passed = self._reader.text.had is not None
        while after is not None and after < self._start:
            limit = min(_FULL, self._start - after)
            if not (page := await self._context.sessions.history(self.session, after=after, limit=limit)):
                return
            missed: list[tuple[Told, str]] = []
            for record in page:
                if record.body.startswith(READ):
                    told = self._reader.read(record.seq, record.event)
                    missed += [] if self._last is None else self._unheard(told)
            after = page[-1].seq
            current = [one for one in missed if one[0].kind != "idle" or one[0].seq > (newest or 0) + 1]
            await self.give(send, await self._encoded(current))  # idle between turns is over

    def _read(self, seq: int, body: bytes) -> list[Told]:
        """Read the next event of the log, live."""
        rested = self._rested
        if rested is not None and seq > rested.state.seq and not body.startswith(_ORDINARY):
            self._rested = rested = None
        if not body.startswith(READ):
            return []
        event = ev.decode_event(body)
        if rested is not None and seq > rested.state.seq and isinstance(event, ev.TurnCompleted):
            self._rested = session_view.after_turn(rested, seq, event)
        return self._reader.read(seq, event)

    async def _present(self) -> bytes:
        """Return the event for the session's status as it is."""
        now = await session_view.now(self._context, self.session)
        shown = self._shown(now)
        self._rest(now, shown)
        kind = "agent.session.created" if self._created else f"agent.session.{shown['status']}"
        key = "created" if self._created else "now"
        return self._line(kind, f"{self._start}.{key}", {"session": shown})

    def _unheard(self, told: Sequence[Told]) -> list[tuple[Told, str]]:
        """Return what the client does not have. The reader may tell of a position when it reads the next one."""
        fresh, last = list[tuple[Told, str]](), self._last
        for one in told:
            key = one.key or self._numbered(one.seq)
            if last is None or one.seq > last.seq or (one.seq == last.seq and self._passed):
                fresh.append((one, key))
            elif one.seq == last.seq:
                self._passed = key == last.key
        return fresh

    def _numbered(self, seq: int) -> str:
        """Return the key of an event that has none: its number at its position."""
        at, number = self._numbers
        self._numbers = (seq, number + 1 if at == seq else 0)
        return str(self._numbers[1])

    async def _encoded(self, keyed: Sequence[tuple[Told, str]]) -> bytes:
        found: list[bytes] = []
        for one, key in keyed:
            if one.delta is not None:
                found.append(self._piece(one, one.delta, key))
            elif one.kind in _STATUS:
                found.append(await self._status(one.kind, f"{one.seq}.{key}"))
            else:
                found.append(self._event(one, key))
        return b"".join(found)

    def _piece(self, one: Told, text: str, key: str) -> bytes:
        if self._delta is None or self._delta[0] is not one.fields:
            kind, own = f"agent.session.{one.kind}", {"session_id": self.session, **one.fields}
            head = b"event: %b\nid: " % kind.encode()
            rest = b'{"type":"%b",' % kind.encode() + msgspec.json.encode(own)[1:-1]
            self._delta = one.fields, head, rest
        _, head, rest = self._delta
        id = f"evt_{self.session}_{one.seq}.{key}".encode()
        return b'%b%b\ndata: %b,"event_id":"%b","delta":%b}\n\n' % (head, id, rest, id, msgspec.json.encode(text))

    def _event(self, one: Told, key: str) -> bytes:
        id, fields = f"{one.seq}.{key}", one.fields
        if one.kind.startswith("subagent."):
            ended = one.kind.endswith("closed")
            shown = subagent(self._record, fields["child"], fields["at"], fields["prompt"], closed=ended)
            return self._line(f"agent.session.{one.kind}", id, {"subagent": shown})
        return self._line(f"agent.session.{one.kind}", id, {"session_id": self.session, **fields})

    async def _status(self, kind: str, id: str) -> bytes:
        """Return the event for a status. A session is idle when nothing waits for it either. As a turn begins, it is
        what it was while it was idle, but for the time."""
        if kind == "in_progress" and self._idle is not None:
            shown, self._idle = {**self._idle, "status": kind, "last_active_at": int(time.time())}, None
            return self._line(f"agent.session.{kind}", id, {"session": shown})
        now = await self._now(kind)
        if kind == "idle":
            if now.state.turn is not None or now.queued or now.state.state in ("error", "stopped"):
                return b""
            shown = self._shown(now)
            kind = shown["status"]
        else:
            shown = self._shown(now, kind)
        self._rest(now, shown)
        return self._line(f"agent.session.{kind}", id, {"session": shown})

    async def _now(self, kind: str) -> session_view.Now:
        """Read the session. After a turn its row tells whether what the stream knows of it is all there is."""
        if kind == "idle" and (rested := self._rested) is not None:
            info = await self._context.sessions.get(self.session)
            if info.head == rested.state.seq and not info.pending:
                return rested._replace(info=info)
        return await session_view.now(self._context, self.session)

    def _shown(self, now: session_view.Now, status: str | None = None) -> dict[str, Any]:
        """Return the resource, of which a turn changes little."""
        if self._standing is None or self._standing.spec != now.state.spec:
            self._standing = session_view.standing(self._record, now.state, self._url).encoded()
        return session_view.shown(self._record, now, self._standing, status=status)

    def _rest(self, now: session_view.Now, shown: dict[str, Any]) -> None:
        """Remember the session as it is if it is idle."""
        self._idle = shown if shown["status"] == "idle" else None
        self._rested = session_view.at_rest(now)

    def _line(self, kind: str, id: str, fields: dict[str, Any]) -> bytes:
        id = f"evt_{self.session}_{id}"
        data = msgspec.json.encode({"type": kind, "event_id": id, **fields})
        return b"event: %b\nid: %b\ndata: %b\n\n" % (kind.encode(), id.encode(), data)

    def last(self, problem: Problem | None) -> bytes:
        if problem is None:
            return b""
        error = error_of(problem)
        data = {"type": "error", "event_id": f"evt_{self.session}_end", "session_id": self.session, "error": error}
        return b"event: error\ndata: %b\n\n" % msgspec.json.encode(data)
