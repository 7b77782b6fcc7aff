"""A task is a turn of a session; its context is the session. All that is told of it is read from the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from roost.doors.a2a.shapes import ENDED, State, agent_message, artifact, part_of, status
from roost.doors.digests import joined, text_of
from roost.doors.open_calls import OpenCalls, Question, matters
from roost.errors import NotFound
from roost.ids import is_id
from roost.kernel.turn_watch import find_turn
from roost.log import events as ev
from roost.log.content import UserPart
from roost.log.inputs import ApprovalInput, MessageInput
from roost.log.protocols import InboxItem
from roost.log.session_info import SessionInfo, TurnOutcome
from roost.runtime import Runtime

_FEW, _PAGE = 50, 1000
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
    if not (is_id(session) and item.isascii() and item.isdigit() and len(item) < 19):
        raise no_task(text)
    return TaskId(session, int(item))


def no_task(id: object) -> NotFound:
    return NotFound(f"there is no task {str(id)[:200]!r}", code="task_not_found")


def is_message(source: str | None, door: str) -> bool:
    """Whether the source of a message is this door."""
    return (source or "").partition("#")[0] in (door, f"{door}:named")


class Task(NamedTuple):
    """A task as it is now. begun: whether a turn has taken its message in. calls: those that are open. decided:
    how many questions were answered so far. at: wall time of the newest event."""

    id: TaskId
    context: str
    state: State
    begun: bool
    parts: Sequence[UserPart]
    source: str = ""
    answer: str = ""
    reason: str | None = None
    calls: OpenCalls | None = None
    decided: int = 0
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
            return self._asks(list(self.calls.asked.values()) if self.calls is not None else [])
        if self.state == "FAILED":
            return self._message("failed", {"text": self.reason or "the turn has no answer"})
        return None

    def _asks(self, questions: Sequence[Question]) -> dict[str, Any]:
        lines = [f"May I call {one.name} with {one.arguments}? ({one.reason})" for _, one in questions]
        data = [
            {
                "call": one.call,
                "asked": at,
                "name": one.name,
                "arguments": one.arguments,
                "why": one.why,
                "dangers": one.dangers,
            }
            for at, one in questions
        ]
        named = 'data {"approvals": [{"call": ..., "asked": ..., "approved": true or false}]}'
        lines.append(f"Answer by {named}." if self.decided else f"Answer yes, no, or {named}.")
        return self._message("asks", {"text": "\n".join(lines)}, {"data": {"approvals": data}})

    def _message(self, name: str, *parts: dict[str, Any]) -> dict[str, Any]:
        return agent_message(f"{self.id}.{name}", self.context, str(self.id), *parts)


async def read_task(runtime: Runtime, id: TaskId, context: str, *, begun: int | None = None) -> Task:
    """Read a task from the log, or from the inbox. begun: the position before its message, where that is known. Raises
    `NotFound`."""
    sessions = runtime.sessions
    try:
        # The inbox first: a message leaves it in the commit that the log shows.
        pending = await runtime.node.tenants.inboxes.pending(id.session)
        waiting = [one for one in pending if one.id == id.item]
        info = await sessions.get(id.session)
        after = await find_turn(sessions, id.session, id.item) if begun is None else begun
    except NotFound:
        raise no_task(id) from None
    if after is None:
        return submitted(id, context, waiting, info)
    parts, source, texts, calls, decided = (), "", list[str](), OpenCalls(), 0
    state, reason, at = "WORKING", None, None
    limit = _FEW
    while page := await sessions.history(id.session, after=after, limit=limit):
        limit = _PAGE
        for record in page:
            if record.body.startswith(_RECEIVED):
                event = record.event
                if isinstance(event, ev.InputReceived) and event.input == id.item:
                    parts, source, at = event.parts, event.source or "", event.at
            elif matters(record.body):
                event = record.event
                calls.follow(event, record.seq)
                decided += isinstance(event, ev.ApprovalResolved)
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
    elif calls.wait and calls.asked and not _answered(calls, pending):
        state = "INPUT_REQUIRED"
    return Task(id, context, state, True, parts, source, joined(texts), reason, calls, decided, at)


def _answered(calls: OpenCalls, pending: Sequence[InboxItem]) -> bool:
    """Whether accepted answers to all questions wait in the inbox. They take effect in a moment, and a client that has
    answered must not read that the task still asks."""
    given = {(one.input.call, one.input.asked) for one in pending if isinstance(one.input, ApprovalInput)}
    return all(given & {(call, None), (call, question.at)} for call, question in calls.asked.items())


def submitted(id: TaskId, context: str, waiting: Sequence[InboxItem], info: SessionInfo) -> Task:
    """Return a task whose message waits in the inbox. Raises `NotFound`."""
    if not waiting or not isinstance(sent := waiting[0].input, MessageInput):
        raise no_task(id)
    halted = info.state in _HALTED
    reason = f"the session is {info.state}" if halted else None
    state = "FAILED" if halted else "SUBMITTED"
    return Task(id, context, state, False, sent.parts, sent.source or "", reason=reason, at=waiting[0].accepted_at)


def ended(outcome: TurnOutcome, answer: str) -> State:
    """Return the state of a task whose turn has ended."""
    if outcome == "cancelled":
        return "CANCELED"
    return "COMPLETED" if outcome == "answered" or (outcome == "limit" and answer) else "FAILED"
