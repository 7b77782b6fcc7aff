"""A call that waits for the turn of an accepted message."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from functools import cache
from typing import cast

from roost.doors.digests import text_of
from roost.doors.mcp.catalog import ToolFailed, ToolResult, text
from roost.doors.mcp.exchange import Ask, Exchange
from roost.doors.mcp.wire import Failure, Json, as_object, cut
from roost.doors.turn_reader import CallsWait, Piece, Read, TurnEnd, TurnReader
from roost.errors import Conflict, NotFound
from roost.ids import short
from roost.kernel.turn_watch import Halted
from roost.log import events as ev
from roost.log.frames import Frame
from roost.log.session_views import WaitingCall
from roost.server.app_state import Api
from roost.server.problems import session_gone, session_halted, shutting_down
from roost.server.stream import PING_SECONDS
from roost.terminal_text import visible

OUTPUT: Json = {
    "type": "object",
    "properties": {
        "session": {"type": "string", "description": "The conversation: name it to go on."},
        "input": {"type": "integer", "description": "The message, for session_wait."},
        "status": {"type": "string", "enum": ["answered", "cancelled", "limit", "waiting", "working"]},
        "answer": {"type": "string"},
        "reason": {"type": "string"},
    },
    "required": ["session", "input", "status"],
}
_SHOWN = 2000
"""Most characters of a call that a client is shown."""
_FORM: Json = {  # without a default: clients fill those in, and nobody would have chosen
    "type": "object",
    "properties": {
        "decision": {"type": "string", "title": "Decision", "enum": ["reject", "approve"]},
        "note": {"type": "string", "title": "Note", "description": "For the agent, with a rejection."},
    },
    "required": ["decision"],
}
_TOLD = (b'{"type":"tool.started"', b'{"type":"model.completed"', b'{"type":"model.notice"')


class TurnCall:
    """Waits for the end of the turn of `item`. Tells the client how it goes, and asks its user about calls that wait
    for a person."""

    def __init__(self, api: Api, session: str, item: int, exchange: Exchange, *, cancels: bool) -> None:
        self._api, self._sessions, self._approvals = api, api.sessions, api.runtime.approvals
        self._session, self._item, self._exchange = session, item, exchange
        self._told = 0
        self._asking: set[asyncio.Task[None]] = set()
        self._early: asyncio.Future[ToolResult] = asyncio.get_running_loop().create_future()
        """The result of this call, where it does not wait for the turn's end."""
        if cancels and exchange.key is None:
            exchange.abandoned = self._cancel

    async def result(self, *, after: int, seconds: float | None = None) -> ToolResult:
        """Return the answer. after: a position of the log before the turn. seconds: longest wait. Raises `ToolFailed`
        for a turn that failed."""
        try:
            async with asyncio.timeout(seconds):
                return await self._read(after)
        except TimeoutError:
            why = "it works on; call session_wait to get the answer"
            return self._done("working", reason=why)
        finally:
            for task in self._asking:
                task.cancel()
            if self._asking:
                await asyncio.wait(self._asking)
            if not self._early.cancel() and not self._early.cancelled():
                self._early.exception()  # else asyncio reports that it was never read

    async def _read(self, after: int) -> ToolResult:
        reading = asyncio.ensure_future(self._follow(after))
        try:
            await asyncio.wait([reading, self._early], return_when=asyncio.FIRST_COMPLETED)
            return reading.result() if reading.done() else self._early.result()
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):  # its error was raised above
                await reading

    async def _follow(self, after: int) -> ToolResult:
        reader = TurnReader(self._sessions, self._session, self._item)
        stream = self._sessions.stream(self._session, after=after, deltas=False, idle=PING_SECONDS)
        async with contextlib.aclosing(cast("AsyncGenerator[list[Frame], None]", stream)) as batches:
            async for frames in batches:
                for _, body in frames:
                    await self._tell(body)
                found = await reader.read(frames)
                if found and not isinstance(found[-1], Piece):
                    return self._ended(found[-1])
        problem = shutting_down() if self._api.stopping else session_gone(self._session)
        raise ToolFailed(problem.detail)

    async def _tell(self, body: bytes) -> None:
        """Tell the client of an event: as progress, as a log message, as a question."""
        kind = body[: body.find(b'"', 9) + 1]
        if kind in _TOLD:
            level, line = _line(ev.decode_event(body))
            self._told += 1
            await self._exchange.progress(self._told, message=line)
            await self._exchange.log(level, line, logger=f"roost.session.{self._session}")
        elif kind in _asking():
            question = ev.decode_event(body).question
            if question is not None:
                waiting = await self._approvals.unanswered(question.session or self._session, question.call)
                if waiting is not None:
                    self._asking.add(asyncio.create_task(self._approve(waiting)))

    async def _approve(self, waiting: WaitingCall) -> None:
        """Ask the client's user about a call. Ends this call if nobody can be asked here, or not yet."""
        try:
            told = await self._answered(waiting)
            if told is not None and not self._early.done():
                self._early.set_result(told)
        except Exception as error:  # raised where the result is awaited
            if not self._early.done():
                self._early.set_exception(error)

    async def _answered(self, waiting: WaitingCall) -> ToolResult | None:
        """Ask, and bring the answer to the session. Returns the result of this call if there is none."""
        ask, key = ask_of(waiting), key_of(waiting)
        if ask is None or not self._exchange.can(ask):
            return self._waits(waiting)
        try:
            answer = (await self._exchange.ask({key: ask}))[key]
        except Failure:  # the client cannot ask now
            return self._waits(waiting)
        if answer.get("action") == "cancel":
            return self._waits(waiting)
        await decide(self._api, waiting, answer)
        return None

    def _waits(self, waiting: WaitingCall) -> ToolResult:
        then = f"Then call session_wait with session {self._session!r} and input {self._item} to get the answer."
        return self._done("waiting", reason=f"{to_do(waiting)} {then}")

    def _ended(self, end: Read) -> ToolResult:
        if isinstance(end, Halted):
            raise ToolFailed(session_halted(self._session, end.state, end.reason).detail)
        if isinstance(end, CallsWait):
            raise ToolFailed(f"session {self._session!r} waits for results of tools that another client runs")
        assert isinstance(end, TurnEnd)
        if end.outcome == "failed":
            raise ToolFailed(f"the turn failed: {end.reason or 'no reason given'} (session {self._session})")
        return self._done(end.outcome, answer=end.answer, reason=end.reason)

    def _done(self, status: str, *, answer: str | None = None, reason: str | None = None) -> ToolResult:
        facts: Json = {"session": self._session, "input": self._item, "status": status}
        if answer is not None:
            facts["answer"] = answer
        if reason is not None:
            facts["reason"] = reason
        said = [text(part) for part in (answer, None if status == "answered" else f"{status}: {reason or ''}") if part]
        return ToolResult([*said, text(f"session: {self._session}")], facts)

    async def _cancel(self) -> None:
        """Cancel the turn, if it is the one that runs."""
        await self._sessions.control(self._session, "cancel", input=self._item, wait=0)


def key_of(waiting: WaitingCall) -> str:
    """Return the key of the question about a call."""
    return f"approval-{waiting.session}-{waiting.call}-{waiting.asked}"


def ask_of(waiting: WaitingCall) -> Ask | None:
    """Return the question about a call that waits for a person; None for one that is too long to be shown whole."""
    question = _question(waiting)
    if len(question) > _SHOWN:
        return None
    return Ask("elicitation/create", {"mode": "form", "message": question, "requestedSchema": _FORM})


def to_do(waiting: WaitingCall) -> str:
    """Say how a person answers a call without the client."""
    how = f"A person answers it: roost approve {short(waiting.session)} (or rejects it, with --reject)."
    return f"{cut(_question(waiting), _SHOWN)} {how}"


async def decide(api: Api, waiting: WaitingCall, answer: Json) -> None:
    """Bring the client's answer to the session. Another person's may have been first."""
    content = as_object(answer.get("content")) or {}
    approves = answer.get("action") == "accept" and content.get("decision") == "approve"
    note = content.get("note")
    with contextlib.suppress(Conflict, NotFound):  # another answer was first, or the call ended
        await api.runtime.approvals.answer(
            waiting.session,
            waiting.call,
            "approve" if approves else "reject",
            note=note if isinstance(note, str) and note and not approves else None,
            source="mcp",
            asked=waiting.asked,
        )


def _line(event: ev.Event) -> tuple[str, str]:
    """Return the level and the text of a log message for an event."""
    match event:
        case ev.ToolStarted():
            return "info", f"runs {event.name}"
        case ev.ModelNotice():
            return "notice", f"model: {event.kind}"
        case ev.ModelCompleted():
            return "debug", text_of(event)[:_SHOWN] or "calls tools"
        case _:
            return "debug", ev.event_type(type(event))


def _question(waiting: WaitingCall) -> str:
    why = f" ({waiting.reason})" if waiting.reason else ""
    rows = [f"The agent {waiting.agent!r} asks to run {waiting.tool}{why}:"]
    rows += [f"- {danger.text}: {danger.why}" for danger in waiting.dangers]
    return visible("\n".join([*rows, waiting.arguments]))


@cache
def _asking() -> frozenset[bytes]:
    return frozenset(map(ev.beginning_of, ev.declaring("question")))
