"""Read the updates of a task from its log: the same ones whenever they are read, so that their delivery can be
repeated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

from roost.doors.a2a.shapes import State, artifact
from roost.doors.a2a.tasks import Task, TaskId, ended
from roost.doors.digests import joined, text_of
from roost.doors.open_calls import OpenCalls, matters, takes
from roost.kernel.turn_watch import find_turn
from roost.log import events as ev
from roost.log.protocols import Record
from roost.runtime import Runtime

_PAGE = 500
_HALTED = ("stopped", "error")
_COMPLETED = b'{"type":"turn.completed"'
_PER_EVENT = 4
"""Room for the updates that one event causes, in their numbers."""


class Update(NamedTuple):
    """number: grows, and is the same whenever the log is read. body: the object `StreamResponse`. last: the task has
    ended."""

    number: int
    body: dict[str, Any]
    last: bool = False


class TaskLog:
    """Reads on where it stopped: its cost is that of the new events."""

    def __init__(self, runtime: Runtime, id: TaskId, context: str) -> None:
        self._sessions, self._id, self._context = runtime.sessions, id, context
        self._after: int | None = None
        self._searched: int | None = None
        """Up to this position no turn has taken the message in."""
        self._begun = False
        self._calls, self._decided = OpenCalls(), 0
        self._texts: list[str] = []
        self._state: State = "SUBMITTED"

    async def read(self) -> AsyncIterator[Update]:
        """Yield the updates since the last call. Raises `NotFound` when the session is gone."""
        session = self._id.session
        if self._after is None:
            await self._find()
        while self._after is not None and (
            page := await self._sessions.history(session, after=self._after, limit=_PAGE)
        ):
            for record in page:
                self._after = record.seq
                for update in self._follow(record):
                    yield update
                    if update.last:
                        return
        info = await self._sessions.get(session)
        if info.state in _HALTED:
            yield self._status("FAILED", info.head, 3, reason=f"the session is {info.state}")

    async def _find(self) -> None:
        """Find the turn of the message. While it waits behind others, only new events are read."""
        session, item = self._id.session, self._id.item
        if self._searched is None:
            self._searched = (await self._sessions.get(session)).head
            self._after = await find_turn(self._sessions, session, item)
            return
        while page := await self._sessions.history(session, after=self._searched, limit=_PAGE):
            self._searched = page[-1].seq
            if any(takes(record.body, item) for record in page):
                self._after = await find_turn(self._sessions, session, item)
                return

    def _follow(self, record: Record) -> Iterator[Update]:
        if not self._begun:
            if takes(record.body, self._id.item):
                self._begun = True
                yield self._status("WORKING", record.seq, 0, at=record.event.at)
        elif record.body.startswith(_COMPLETED):
            event = record.event
            assert isinstance(event, ev.TurnCompleted)
            answer = joined(self._texts)
            if answer:
                body = {**self._ids(), "artifact": artifact(answer), "append": False, "lastChunk": True}
                yield Update(record.seq * _PER_EVENT, {"artifactUpdate": body})
            yield self._status(ended(event.outcome, answer), record.seq, 1, at=event.at, reason=event.reason)
        elif matters(record.body):
            event = record.event
            self._calls.follow(event, record.seq)
            self._decided += isinstance(event, ev.ApprovalResolved)
            if isinstance(event, ev.ModelCompleted):
                self._texts.append(text_of(event))
            state: State = "INPUT_REQUIRED" if self._calls.wait and self._calls.asked else "WORKING"
            if state != self._state:
                yield self._status(state, record.seq, 0, at=event.at)

    def _status(
        self, state: State, seq: int, place: int, *, at: float | None = None, reason: str | None = None
    ) -> Update:
        self._state = state
        task = Task(self._id, self._context, state, True, (), "", "", reason, self._calls, self._decided, at)
        body = {**self._ids(), "status": task.shape()["status"]}
        return Update(seq * _PER_EVENT + place, {"statusUpdate": body}, task.ended)

    def _ids(self) -> dict[str, str]:
        return {"taskId": str(self._id), "contextId": self._context}
