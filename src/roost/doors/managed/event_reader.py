"""Read a session's log as events of the Managed Agents API.

The same log gives the same events with the same ids, on every node and after every restart: an id is made of
positions in the log, of the numbers of inputs and of steps. So a client that lost its stream lists the events and
leaves out those it knows by their ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from roost.agent.servers import server_tool
from roost.doors.failures import MONEY
from roost.doors.managed.agent_tools import shown_call
from roost.doors.managed.content import blocks, instructed, text_blocks
from roost.doors.managed.outcomes import defined_by, evaluation_events
from roost.doors.managed.requests import stamp
from roost.doors.open_calls import OpenCalls
from roost.errors import UnknownEvent
from roost.features.client_tools.events import ClientCalled
from roost.features.compaction.events import ContextCompacted
from roost.features.delegation.events import ChildEnded, ChildStarted, ChildWaits
from roost.features.mcp.events import McpFailed
from roost.features.outcomes.events import OutcomeGraded, OutcomeJudged
from roost.log import events as ev
from roost.log.content import Text, Thinking, ToolCall, Usage, UserPart
from roost.log.protocols import Record

Shown = dict[str, Any]
BELOW = "_below"
"""The key under which a shown event has the `ChildWaits` that it is of, until its input is filled in."""
SYSTEM = "managed.system"
"""In the note of a message: its last part is a system message."""
_ERRORS = {
    "rate_limited": "model_rate_limited_error",
    "overloaded": "model_overloaded_error",
    "quota": "billing_error",
    "budget": "billing_error",
}
_NO_MODEL = {"interrupted", "engine"}


class CallPlace(NamedTuple):
    """Where the model asked for a call: position in the log and number of the part."""

    seq: int
    part: int
    call: ToolCall


class Below(NamedTuple):
    """A question of a thread. number: of the questions about its call, from 0."""

    asked: ChildWaits
    number: int


def confirmation_id(question: str) -> str:
    """Return the id of the answer to the question of a thread."""
    return f"{question}_c"


class EventIds:
    """The ids of one session's events."""

    def __init__(self, session: str) -> None:
        self._tail = session[-12:].replace(":", "-")

    def at(self, seq: int, part: int = 0) -> str:
        return f"sevt_{self._tail}_{seq}_{part}"

    def input(self, number: int) -> str:
        """Of what a client sent, by its number in the inbox."""
        return f"sevt_{self._tail}_i{number}"

    def system(self, number: int) -> str:
        """Of the system message beside what a client sent."""
        return f"sevt_{self._tail}_s{number}"

    def answered(self, asked: int) -> str:
        """Of the answer to the question at a position."""
        return f"sevt_{self._tail}_a{asked}"

    def result(self, place: CallPlace) -> str:
        return f"sevt_{self._tail}_r{place.seq}_{place.part}"

    def said(self, step: int) -> str:
        """Of what the agent said in a step: known while it speaks."""
        return f"sevt_{self._tail}_m{step}"

    def thought(self, step: int) -> str:
        return f"sevt_{self._tail}_k{step}"

    def place(self, id: str) -> tuple[int, int] | None:
        """Return the position and the part that an id of `at` names."""
        seq, _, part = id.removeprefix(f"sevt_{self._tail}_").partition("_")
        numbers = [int(one) for one in (seq, part) if one.isascii() and one.isdigit() and len(one) < 16]
        return (numbers[0], numbers[1]) if len(numbers) == 2 and id == self.at(*numbers) else None


class EventReader:
    """Reads records in their order. The first is that behind a position at which no turn was open.

    quiet: the newest position at which no turn was open, where another reader may begin.
    """

    def __init__(self, session: str) -> None:
        self.quiet = 0
        self._ids = EventIds(session)
        self._calls: dict[str, CallPlace] = {}
        self._shown: set[str] = set()
        self._starting: dict[str, float] = {}
        self._open = OpenCalls()
        self._blocked: list[str] = []
        self._idle = True
        self._turn = False
        self._span: str | None = None
        self._refused = self._unmet = False
        self._graded = Usage()
        self._waited_for: set[str] = set()
        self._times = Counter[tuple[str, str]]()
        self.below: dict[str, Below] = {}
        """The questions of threads that have no answer yet, by the ids of their events. An answer is in the log of the
        thread: `answered_below` is told of it."""

    def read(self, record: Record) -> list[Shown]:
        """Return the events of a record. A record of a kind that this version does not know has none."""
        try:
            event = record.event
        except UnknownEvent:
            return []
        seq, at = record.seq, event.at
        found = [] if isinstance(event, ClientCalled) else self.flush()
        if isinstance(event, ClientCalled):
            self._starting.pop(event.call, None)
        found += self._events(event, seq, at)
        self._open.follow(event, seq)
        found += self._status(event, seq, at)
        if not self._turn:
            self.quiet = seq
        return found

    def answered_below(self, id: str, answer: ev.ApprovalResolved) -> list[Shown]:
        """Return the events of the answer to the question of a thread."""
        if self.below.pop(id, None) is None:
            return []
        denied = answer.decision == "reject"
        more: Shown = {"tool_use_id": id, "result": "deny" if denied else "allow"}
        if denied and answer.note:
            more["deny_message"] = answer.note
        found = [_event(confirmation_id(id), "user.tool_confirmation", answer.at, **more)]
        if id in self._blocked:
            self._blocked.remove(id)
            if not self._blocked and self._idle:
                self._idle = False
                found.append(_event(f"{id}_r", "session.status_running", answer.at))
        return found

    def flush(self) -> list[Shown]:
        """Return the events of calls that have begun: whether the client runs one is said by the record after."""
        found = [one for call, at in self._starting.items() for one in self._use(call, at, "allow")]
        self._starting.clear()
        return found

    def _events(self, event: ev.Event, seq: int, at: float) -> list[Shown]:
        match event:
            case ev.InputReceived():
                return self._message(event)
            case ev.TurnStarted():
                self._turn, self._refused, self._unmet = True, False, False
                return self._running(seq, at)
            case ev.ModelStarted():
                ended = self._span_end(seq, at, Usage(), error=True)
                self._span = self._ids.at(seq, 1)
                return [*ended, _event(self._span, "span.model_request_start", at)]
            case ev.ModelCompleted():
                self._refused = event.stop == "refusal"
                return self._said(event, seq)
            case ev.ModelFailed():
                return self._span_end(seq, at, event.usage or Usage(), error=True)
            case ev.ModelLost():
                return self._span_end(seq, at, event.usage, error=True)
            case ev.ControlApplied(action="cancel"):
                return [_event(self._ids.input(event.input), "user.interrupt", at)]
            case ev.TurnCompleted() | ev.StateChanged():
                return list(self._ended(event, seq, at))
            case _:
                return self._of_feature(event, seq, at)

    def _of_feature(self, event: ev.Event, seq: int, at: float) -> list[Shown]:
        match event:
            case ContextCompacted():
                return [_event(self._ids.at(seq), "agent.thread_context_compacted", at)]
            case ChildStarted() | ChildEnded():
                return self._thread(event, seq, at)
            case ChildWaits():
                return self._asked_below(event, seq, at)
            case McpFailed():
                return [self._no_server(event, seq, at)]
            case OutcomeGraded():
                self._graded = event.usage
                return []
            case OutcomeJudged():
                graded, self._graded = self._graded, Usage()
                found = evaluation_events(self._ids.at(seq), self._ids.at(seq, 1), event, graded)
                self._unmet = bool(found) and not event.met and not event.message
                return found
            case _:
                return self._of_call(event, seq, at)

    def _of_call(self, event: ev.Event, seq: int, at: float) -> list[Shown]:
        match event:
            case ev.ToolStarted():
                self._starting[event.call] = at
                return []
            case ClientCalled():
                return self._use(event.call, at, None)
            case ev.ApprovalRequested():
                if event.call not in self._calls:  # a question about a whole turn
                    self._calls[event.call] = CallPlace(seq, 0, ToolCall(event.call, event.name, event.arguments))
                return self._use(event.call, at, "ask")
            case ev.ApprovalResolved():
                return self._confirmed(event, at)
            case ev.ToolCompleted():
                return self._completed(event, at)
            case _:
                return []

    def _message(self, event: ev.InputReceived) -> list[Shown]:
        if (outcome := defined_by(event)) is not None:
            return [_event(self._ids.input(event.input), "user.define_outcome", event.at, **outcome)]
        system = event.source == "managed" and bool(event.note and event.note.get(SYSTEM))
        return said_by_client(self._ids, event.input, event.parts, system=system, at=event.at)

    def _running(self, seq: int, at: float) -> list[Shown]:
        if not self._idle:
            return []
        self._idle, self._blocked = False, []
        return [_event(self._ids.at(seq, 100), "session.status_running", at)]

    def _said(self, event: ev.ModelCompleted, seq: int) -> list[Shown]:
        found: list[Shown] = []
        if any(isinstance(part, Thinking) for part in event.parts):
            found.append(_event(self._ids.thought(event.step), "agent.thinking", event.at))
        said = "".join(part.text for part in event.parts if isinstance(part, Text))
        if said:
            found.append(_event(self._ids.said(event.step), "agent.message", event.at, content=text_blocks(said)))
        parts = enumerate(event.parts)
        self._calls = {part.id: CallPlace(seq, at, part) for at, part in parts if isinstance(part, ToolCall)}
        self._shown.clear()
        return found + self._span_end(seq, event.at, event.usage, error=False)

    def _span_end(self, seq: int, at: float, usage: Usage, *, error: bool) -> list[Shown]:
        if self._span is None:
            return []
        begun, self._span = self._span, None
        counted = {
            "input_tokens": max(0, usage.input - usage.cached - usage.written),
            "output_tokens": usage.output,
            "cache_read_input_tokens": usage.cached,
            "cache_creation_input_tokens": usage.written,
        }
        more = {"model_request_start_id": begun, "model_usage": counted, "is_error": error}
        return [_event(self._ids.at(seq, 101), "span.model_request_end", at, **more)]

    def _use(self, call: str, at: float, permission: str | None) -> list[Shown]:
        """Show a call, once. permission: None for a call that the client runs."""
        place = self._calls.get(call)
        if place is None or call in self._shown:
            return []
        self._shown.add(call)
        name, given = shown_call(place.call.name, place.call.arguments)
        id = self._ids.at(place.seq, place.part)
        if permission is None:
            return [_event(id, "agent.custom_tool_use", at, name=name, input=given)]
        if (of := server_tool(name)) is not None:
            more: Shown = {"mcp_server_name": of[0], "name": of[1], "evaluated_permission": permission}
            return [_event(id, "agent.mcp_tool_use", at, input=given, **more)]
        return [_event(id, "agent.tool_use", at, name=name, input=given, evaluated_permission=permission)]

    def _confirmed(self, event: ev.ApprovalResolved, at: float) -> list[Shown]:
        place, question = self._calls.get(event.call), self._open.asked.get(event.call)
        if place is None or question is None:
            return []
        denied = event.decision == "reject"
        more: Shown = {"tool_use_id": self._ids.at(place.seq, place.part), "result": "deny" if denied else "allow"}
        if denied and event.note:
            more["deny_message"] = event.note
        return [_event(self._ids.answered(question.at), "user.tool_confirmation", at, **more)]

    def _completed(self, event: ev.ToolCompleted, at: float) -> list[Shown]:
        place = self._calls.get(event.call)
        if place is None:
            return []
        failed = event.outcome != "ok"
        more: Shown = {"content": blocks(event.parts), "is_error": failed}
        use = self._ids.at(place.seq, place.part)
        if event.call in self._open.handed and event.outcome in ("ok", "error"):
            return [_event(self._ids.result(place), "user.custom_tool_result", at, custom_tool_use_id=use, **more)]
        shown = self._use(event.call, at, "deny" if event.outcome == "denied" else "allow")
        if server_tool(place.call.name) is not None:
            return [*shown, _event(self._ids.result(place), "agent.mcp_tool_result", at, mcp_tool_use_id=use, **more)]
        return [*shown, _event(self._ids.result(place), "agent.tool_result", at, tool_use_id=use, **more)]

    def _status(self, event: ev.Event, seq: int, at: float) -> list[Shown]:
        """Say that the session waits for somebody, for whom, and that it goes on."""
        if not self._turn:
            return []
        gate = [call for call in self._open.asked if call not in self._open.open]
        if self._open.wait or gate:
            waits = [*self._open.asked, *self._open.handed]
            ids = [self._ids.at(one.seq, one.part) for call in waits if (one := self._calls.get(call)) is not None]
            if ids == self._blocked and self._idle:
                return []
            self._blocked, self._idle = ids, True
            return [self._idled(seq, at, {"type": "requires_action", "event_ids": ids})]
        went_on = self._blocked and isinstance(event, ev.ApprovalResolved | ev.ToolCompleted)
        return self._running(seq, at) if went_on else []

    def _idled(self, seq: int, at: float, reason: Shown) -> Shown:
        return _event(self._ids.at(seq, 102), "session.status_idle", at, stop_reason=reason)

    def _ended(self, event: ev.TurnCompleted | ev.StateChanged, seq: int, at: float) -> Iterator[Shown]:
        if isinstance(event, ev.StateChanged):
            if event.state in ("stopped", "error"):
                if event.state == "error":
                    yield self._error(seq, at, "unknown_error", event.reason or "the session failed", "terminal")
                yield _event(self._ids.at(seq, 103), "session.status_terminated", at)
                self._over()
            return
        self._over()
        yield from self._span_end(seq, at, Usage(), error=True)
        kind, reason = "end_turn", event.reason or ""
        code, _, message = reason.partition(": ")
        if event.outcome == "limit":
            kind = "budget_reached" if code in MONEY else "retries_exhausted"
            if kind == "retries_exhausted":
                what = "tool_use_limit_reached_error" if code == "steps" else "unknown_error"
                yield self._error(seq, at, what, f"the turn reached a limit: {reason}", "exhausted")
        elif event.outcome == "failed" and not self._unmet:
            kind = "refusal" if code in ("refusal", "refused") else "retries_exhausted"
            if kind == "retries_exhausted":
                of_model = message and " " not in code and code not in _NO_MODEL
                what = _ERRORS.get(code, "model_request_failed_error" if of_model else "unknown_error")
                yield self._error(seq, at, what, reason or "the turn failed", "exhausted")
        elif self._refused:
            kind = "refusal"
        yield self._idled(seq, at, {"type": kind})

    def _over(self) -> None:
        self._turn, self._idle, self._blocked, self._open = False, True, [], OpenCalls()
        self._calls, self._starting = {}, {}
        self._shown.clear()

    def _error(self, seq: int, at: float, kind: str, message: str, retry: str) -> Shown:
        error = {"type": kind, "message": message, "retry_status": {"type": retry}}
        return _event(self._ids.at(seq, 104), "session.error", at, error=error)

    def _asked_below(self, event: ChildWaits, seq: int, at: float) -> list[Shown]:
        """Show the question of a thread. Its input is in the log of the thread (`BELOW`)."""
        of = server_tool(event.tool)
        kind = "agent.tool_use" if of is None else "agent.mcp_tool_use"
        name = {"name": shown_call(event.tool, "{}")[0]} if of is None else {"mcp_server_name": of[0], "name": of[1]}
        id = self._ids.at(seq)
        more: Shown = {**name, "input": {}, "evaluated_permission": "ask", "session_thread_id": event.session}
        found = [_event(id, kind, at, **more, **{BELOW: event})]
        self.below[id] = Below(event, self._times[event.session, event.call])
        self._times[event.session, event.call] += 1
        if self._turn and event.child in self._waited_for:
            waits = [one for one in self._blocked if one in self.below]
            self._blocked, self._idle = [*waits, id], True
            found.append(self._idled(seq, at, {"type": "requires_action", "event_ids": [*waits, id]}))
        return found

    def _no_server(self, event: McpFailed, seq: int, at: float) -> Shown:
        error = {
            "type": "mcp_connection_failed_error",
            "mcp_server_name": event.server,
            "message": event.reason,
            "retry_status": {"type": "exhausted"},
        }
        return _event(self._ids.at(seq, 104), "session.error", at, error=error)

    def _thread(self, event: ChildStarted | ChildEnded, seq: int, at: float) -> list[Shown]:
        child = {"session_thread_id": event.child}
        if isinstance(event, ChildStarted):
            if not event.background:
                self._waited_for.add(event.child)
            named = {**child, "agent_name": event.agent}
            return [
                _event(self._ids.at(seq, 0), "session.thread_created", at, **named),
                _event(self._ids.at(seq, 1), "session.thread_status_running", at, **named),
            ]
        self._waited_for.discard(event.child)
        self.below = {id: one for id, one in self.below.items() if one.asked.child != event.child}
        reason = {"type": "end_turn" if event.outcome in ("answered", "cancelled") else "retries_exhausted"}
        ended = {**child, "agent_name": "", "stop_reason": reason}
        return [_event(self._ids.at(seq, 0), "session.thread_status_idle", at, **ended)]


def said_by_client(
    ids: EventIds, number: int, parts: Sequence[UserPart], *, system: bool, at: float | None
) -> list[Shown]:
    """Return the events of a message. number: its input. system: its last part is a system message. at: when the
    session took it."""
    processed = None if at is None else stamp(at)
    said = parts[:-1] if system else parts
    found: list[Shown] = []
    if content := blocks(said):
        found.append({"id": ids.input(number), "type": "user.message", "content": content, "processed_at": processed})
    if system:
        told = text_blocks(instructed(parts[-1]))
        found.append({"id": ids.system(number), "type": "system.message", "content": told, "processed_at": processed})
    return found


def _event(id: str, kind: str, at: float, **more: Any) -> Shown:
    return {"id": id, "type": kind, "processed_at": stamp(at), **more}
