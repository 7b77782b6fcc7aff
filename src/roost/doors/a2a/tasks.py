"""A task is a turn of a session; its context is the session. All that is told of it is read from the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from roost.doors.a2a.shapes import ENDED, State, agent_message, artifact, part_of, status
from roost.doors.digests import joined, text_of
from roost.doors.open_calls import OpenCalls, matters
from roost.errors import NotFound
from roost.kernel.sessions import Sessions
from roost.kernel.turn_watch import find_turn
from roost.log import events as ev
from roost.log.content import UserPart
from roost.log.session_info import TurnOutcome

_PAGE = 1000
_RECEIVED = b'{"type":"input.received"'
_COMPLETED = b'{"type":"turn.completed"'
_HALTED = ("stopped", "error")


class TaskId(NamedTuple):
    """A turn: the session, and the input that it takes in."""

    session: str
    item: int

    def __str__(self) -> str:
        return f"{self.session}.{self.item}"


def task_id(text: str) -> TaskId:
    """Return the task of this name. Raises `NotFound`."""
    session, _, item = text.rpartition(".")
    if not (session and item.isascii() and item.isdigit() and len(item) < 19):
        raise no_task(text)
    return TaskId(session, int(item))


def no_task(id: object) -> NotFound:
    return NotFound(f"there is no task {str(id)[:200]!r}", code="task_not_found")


class Task(NamedTuple):
    """A task as it is now. begun: whether a turn has taken its message in. calls: those that are open. at: wall time of
    the newest event."""

    id: TaskId
    context: str
    state: State
    begun: bool
    parts: Sequence[UserPart]
    source: str = ""
    answer: str = ""
    reason: str | None = None
    calls: OpenCalls | None = None
    at: float | None = None

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def shape(self, *, artifacts: bool = True, history: int | None = None) -> dict[str, Any]:
        """Return the object `Task`. history: the most messages to tell; None: all."""
        told: dict[str, Any] = {
            "id": str(self.id),
            "contextId": self.context,
            "status": status(self.state, self.at, self.note()),
        }
        said = {
            "messageId": f"{self.id}.asked",
            "contextId": self.context,
            "taskId": str(self.id),
            "role": "ROLE_USER",
            "parts": [part_of(part) for part in self.parts],
        }
        if self.parts and history != 0:
            told["history"] = [said]
        if self.answer and artifacts:
            told["artifacts"] = [artifact(self.answer)]
        return told

    def note(self) -> dict[str, Any] | None:
        """Return the message that says what the task waits for, or why it failed."""
        if self.state == "INPUT_REQUIRED":
            asked = list(self.calls.asked.values()) if self.calls is not None else []
            lines = [f"May I call {one.name} with {one.arguments}? ({one.reason})" for one in asked]
            data = [
                {"call": one.call, "name": one.name, "arguments": one.arguments, "why": one.why, "dangers": one.dangers}
                for one in asked
            ]
            text = "\n".join((*lines, 'Answer yes, no, or {"approved": true or false}.'))
            return self._message("asks", {"text": text}, {"data": {"approvals": data}})
        if self.state == "FAILED":
            return self._message("failed", {"text": self.reason or "the turn has no answer"})
        return None

    def _message(self, name: str, *parts: dict[str, Any]) -> dict[str, Any]:
        return agent_message(f"{self.id}.{name}", self.context, str(self.id), *parts)


async def read_task(sessions: Sessions, id: TaskId, context: str) -> Task:
    """Read a task from the log. Raises `NotFound`."""
    try:
        info = await sessions.get(id.session)
    except NotFound:
        raise no_task(id) from None
    after = await find_turn(sessions, id.session, id.item)
    begun = after is not None
    if after is None and not info.pending:
        raise no_task(id)
    parts, source, texts, calls = (), "", list[str](), OpenCalls()
    state, reason, at = "WORKING" if begun else "SUBMITTED", None, None
    while after is not None and (page := await sessions.history(id.session, after=after, limit=_PAGE)):
        for record in page:
            if record.body.startswith(_RECEIVED):
                event = record.event
                if isinstance(event, ev.InputReceived) and event.input == id.item:
                    parts, source, at = event.parts, event.source or "", event.at
            elif matters(record.body):
                event = record.event
                calls.follow(event)
                at = event.at
                if isinstance(event, ev.ModelCompleted):
                    texts.append(text_of(event))
            elif record.body.startswith(_COMPLETED):
                event = record.event
                assert isinstance(event, ev.TurnCompleted)
                answer = joined(texts)
                state = ended(event.outcome, answer)
                return Task(id, context, state, True, parts, source, answer, event.reason, at=event.at)
        after = page[-1].seq
    if info.state in _HALTED:
        state, reason = "FAILED", f"the session is {info.state}"
    elif calls.wait and calls.asked:
        state = "INPUT_REQUIRED"
    return Task(id, context, state, begun, parts, source, joined(texts), reason, calls, at)


def ended(outcome: TurnOutcome, answer: str) -> State:
    """Return the state of a task whose turn has ended."""
    if outcome == "cancelled":
        return "CANCELED"
    return "COMPLETED" if outcome == "answered" or (outcome == "limit" and answer) else "FAILED"
