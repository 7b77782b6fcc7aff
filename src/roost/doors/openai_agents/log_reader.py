"""Read the log of a session as turns, items and events of the Agents API.

Everything that a client gets, streamed or listed, comes from this one reading. Its ids say where in the log a thing is:
the turn's number, the number of the model call, the place in its answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import msgspec

from roost.doors.digests import text_of
from roost.doors.open_calls import OpenCalls
from roost.doors.openai_agents import items
from roost.doors.openai_agents.items import Item
from roost.doors.openai_agents.step_text import Said, StepText
from roost.features.client_tools.events import ClientCalled
from roost.features.delegation.events import ChildEnded, ChildStarted, ChildWaits
from roost.log import events as ev
from roost.log.content import Text, Thinking, ToolCall, Usage, UserPart
from roost.log.frames import Delta

READ = tuple(
    ev.beginning_of(kind)
    for kind in (
        ev.InputReceived,
        ev.TurnStarted,
        ev.TurnCompleted,
        ev.ModelCompleted,
        ev.ModelFailed,
        ev.ToolStarted,
        ev.ToolCompleted,
        ev.ApprovalRequested,
        ev.ApprovalResolved,
        ev.StateChanged,
        ClientCalled,
        ChildStarted,
        ChildWaits,
        ChildEnded,
    )
)
"""How the events begin that mean anything here."""


class Told(msgspec.Struct, frozen=True):
    """An event for clients. seq: the position in the log that it follows from. key: tells events of one position
    apart; empty to number them. kind: without `agent.session.`. delta: the piece of text that it adds; its `fields` are
    then one object for all pieces of a text."""

    seq: int
    kind: str
    fields: dict[str, Any]
    key: str = ""
    delta: str | None = None


class Names(NamedTuple):
    """What the resources of a log name. session: whose log it is. root: the session that clients know; another one for
    a subagent. agent: the id of the agent that works in it."""

    session: str
    root: str
    agent: str

    @property
    def subagent(self) -> str | None:
        return None if self.session == self.root else self.session


class Turn(msgspec.Struct):
    """A turn. index: of the next item of its output."""

    number: int
    created: int
    status: str = "in_progress"
    started: int | None = None
    completed: int | None = None
    error: dict[str, str] | None = None
    usage: Usage | None = None
    index: int = 0


class _Open(msgspec.Struct):
    """An item of a call that has no outcome yet."""

    item: Item
    index: int


def turn_id(session: str, number: int) -> str:
    return f"turn_{session}_{number}"


class LogReader:
    """Turn events of a log, from the beginning of a turn on, into events for clients. deltas: also of texts."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.turn: Turn | None = None
        self.waits = False
        """Whether the turn goes on only once somebody outside has acted."""
        self._calls = OpenCalls()
        self._below: dict[str, bool] = {}
        """The children that the turn waits for, each with whether a question of it waits for a person."""
        self._received: list[tuple[int, ev.InputReceived]] = []
        self._asked: dict[str, tuple[str, ToolCall]] = {}
        self._open: dict[str, _Open] = {}
        self._started: tuple[int, ev.ToolStarted] | None = None
        self.text = StepText()
        self._place: tuple[str, int, str, dict[str, Any]] | None = None
        """Of the newest delta: the kind of its text, the place of its item, and what all deltas of it are told with."""

    def read(self, seq: int, event: ev.Event) -> list[Told]:
        """Return what the next event of the log means."""
        told = self._settle(event)
        match event:
            case ev.InputReceived():
                self._received.append((seq, event))
                if self.turn is not None:
                    told += self._take(seq)
            case ev.TurnStarted():
                told += self._begin(seq, event)
            case ev.TurnCompleted():
                told += self._end(seq, event)
            case ev.StateChanged(state="error" | "stopped"):
                told.append(Told(seq, "failed", {}))
            case _:
                told += [] if self.turn is None else self._within(seq, event)
        return told

    def _within(self, seq: int, event: ev.Event) -> list[Told]:
        """Read an event of the open turn."""
        told: list[Told] = []
        asks = False
        match event:
            case ev.ModelCompleted():
                told = self._complete(seq, event)
            case ev.ModelFailed():
                told = self._cut(seq)
            case ev.ToolStarted():
                self._started = seq, event
            case ClientCalled():
                told = self._hand_over(seq, event)
            case ev.ToolCompleted():
                told = self._outcome(seq, event)
            case ev.ApprovalRequested():
                told = self._own(seq, event.call, event.name, event.arguments)
            case ChildStarted() | ChildEnded():
                told = [self._child(seq, event)]
                if isinstance(event, ChildEnded):
                    self._below.pop(event.child, None)
                elif not event.background:
                    self._below[event.child] = False
            case ChildWaits(child=child) if child in self._below:
                self._below[child] = asks = True
            case _:
                pass
        self._calls.follow(event, seq)
        return told + self._status(seq, asks=asks)

    def hear(self, delta: Delta) -> list[Told]:
        """Return what a piece of an unfinished answer means."""
        if self.turn is None or delta.kind == "call":
            return []
        kind: Literal["text", "thinking"] = delta.kind
        return [self._said(delta.after, one) for one in self.text.hear(kind, delta, self._next)]

    def flush(self) -> list[Told]:
        """Return what was held back until the next event, when none is near."""
        return [] if self._started is None else self._settle(None)

    def _settle(self, event: ev.Event | None) -> list[Told]:
        """Tell of a call whose intent was read, unless the event shows that the application runs it."""
        if self._started is None:
            return []
        seq, started = self._started
        self._started = None
        if isinstance(event, ClientCalled) and event.call == started.call:
            return []
        return self._own(seq, started.call, started.name, None)

    # A turn

    def _begin(self, seq: int, event: ev.TurnStarted) -> list[Told]:
        self._open, self._asked, self._calls, self.waits = {}, {}, OpenCalls(), False
        self._below, self._place = {}, None
        at = int(self._received[0][1].at if self._received else event.at)
        self.turn = Turn(event.turn, at, started=int(event.at))
        self.text.reset()
        shown = {"turn": self.resource(self.turn), "turn_id": self._turn_id}
        told = [Told(seq, "turn.created", shown), Told(seq, "turn.in_progress", shown)]
        return [Told(seq, "in_progress", {}), *told, *self._take(seq)]

    def _take(self, seq: int) -> list[Told]:
        """Tell of the messages of the user that the turn has taken in."""
        told: list[Told] = []
        for _, event in self._received:
            for at, parts in enumerate(_messages(event)):
                id = self._id("msg", f"i{event.input}.{at}")
                item = items.said_by_user(id, self._turn_id, parts)
                told.append(Told(seq, "turn.item.added", self._about(item, None)))
        self._received = []
        return told

    def _end(self, seq: int, event: ev.TurnCompleted) -> list[Told]:
        turn = self.turn
        if turn is None:
            return []
        told = self._cut(seq)
        for one in self._open.values():
            done = {**one.item, "status": "incomplete"}
            told.append(Told(seq, "turn.item.done", self._about(done, one.index)))
        turn.status = {"answered": "completed", "cancelled": "cancelled"}.get(event.outcome, "failed")
        turn.completed, turn.usage = int(event.at), event.usage
        if turn.status == "failed":
            turn.error = _error(event)
        usage = items.usage_of(event.usage)
        fields = {"turn": self.resource(turn), "turn_id": self._turn_id, "usage": usage}
        told.append(Told(seq, f"turn.{turn.status}", fields))
        self.turn, self._open, self.waits, self._calls = None, {}, False, OpenCalls()
        return [*told, Told(seq, "idle", {})]

    def resource(self, turn: Turn) -> dict[str, Any]:
        return {
            "id": turn_id(self.names.session, turn.number),
            "object": "agent.session.turn",
            "agent_id": self.names.agent,
            "session_id": self.names.root,
            "subagent_id": self.names.subagent,
            "status": "waiting" if self.waits and turn is self.turn else turn.status,
            "created_at": turn.created,
            "started_at": turn.started,
            "completed_at": turn.completed,
            "error": turn.error,
            "usage": None if turn.usage is None else items.usage_of(turn.usage),
        }

    def _status(self, seq: int, *, asks: bool = False) -> list[Told]:
        """Tell when the turn begins or ends to wait for somebody outside. asks: a subagent asks. It is told each time:
        this log does not say when an earlier question was answered."""
        calls = self._calls
        waits = calls.wait or (bool(calls.asked) and not calls.open) or any(self._below.values())
        if waits == self.waits and not asks:
            return []
        self.waits = waits
        return [Told(seq, "requires_action" if waits else "in_progress", {})]

    # What the model says

    def _complete(self, seq: int, event: ev.ModelCompleted) -> list[Told]:
        calls = [part for part in event.parts if isinstance(part, ToolCall)]
        thought = "".join(part.text for part in event.parts if isinstance(part, Thinking))
        said = self.text.finish(event.step, thought, text_of(event), self._next)
        told = [self._said(seq, one, phase="commentary" if calls else "final_answer") for one in said]
        for at, call in enumerate(calls):
            self._asked[call.id] = f"{event.step}.{at}", call
        return told

    def _cut(self, seq: int) -> list[Told]:
        """End what was being said, when its model call has failed or the turn has ended."""
        return [self._said(seq, one) for one in self.text.cut()]

    def _said(self, seq: int, one: Said, phase: str | None = None) -> Told:
        if one.what == "delta":
            return self._piece(seq, one)
        prefix = "msg" if one.kind == "text" else "rs"
        id = self._id(prefix, str(one.step))
        place = {"item_id": id, "output_index": one.place}
        if one.what in ("added", "done", "incomplete"):
            status = {"added": "in_progress", "done": "completed"}.get(one.what, "incomplete")
            make = items.answer if one.kind == "text" else items.reasoning
            item = make(id, self._turn_id, one.text, status)
            if one.kind == "text" and one.what == "done":
                item["phase"] = phase
            kind = "turn.item.added" if one.what == "added" else "turn.item.done"
            return Told(seq, kind, self._about(item, one.place), one.key)
        kind, fields = one.event()
        return Told(seq, f"turn.{kind}", {**place, **fields, "turn_id": self._turn_id}, one.key)

    def _piece(self, seq: int, one: Said) -> Told:
        place = self._place
        if place is None or place[0] != one.kind or place[1] != one.place:
            kind, fields = one.event()
            id = self._id("msg" if one.kind == "text" else "rs", str(one.step))
            fields = {"item_id": id, "output_index": one.place, **fields, "turn_id": self._turn_id}
            self._place = place = one.kind, one.place, f"turn.{kind}", fields
        return Told(seq, place[2], place[3], one.key, one.text)

    # Calls

    def _own(self, seq: int, call: str, name: str, arguments: str | None) -> list[Told]:
        """Tell of a call of one of the agent's own tools, once."""
        if call in self._open or self.turn is None:
            return []
        place, made = self._asked.get(call, (f"c{seq}", ToolCall(call, name, arguments or "{}")))
        item = items.own_call(self._id("call", place), self._turn_id, self.names.agent, made)
        return [self._opened(seq, call, item)]

    def _hand_over(self, seq: int, event: ClientCalled) -> list[Told]:
        place, _ = self._asked.get(event.call, (f"c{seq}", None))
        call = ToolCall(event.call, event.name, event.arguments)
        item = items.function_call(self._id("fc", place), self._turn_id, call)
        if (known := self._open.get(event.call)) is not None and known.item["type"] == "function_call":
            return []
        return [self._opened(seq, event.call, item)]

    def _opened(self, seq: int, call: str, item: Item) -> Told:
        known = self._open.get(call)
        index = self._next() if known is None else known.index
        self._open[call] = _Open(item, index)
        return Told(seq, "turn.item.added", self._about(item, index))

    def _outcome(self, seq: int, event: ev.ToolCompleted) -> list[Told]:
        told: list[Told] = []
        if event.call not in self._open:
            _, call = self._asked.get(event.call, ("", ToolCall(event.call, "")))
            told = self._own(seq, event.call, call.name, None)
        known = self._open.pop(event.call)
        if known.item["type"] != "function_call":
            done = items.own_done(known.item, event)
            return [*told, Told(seq, "turn.item.done", self._about(done, known.index))]
        status = "completed" if event.outcome == "ok" else "failed"
        done = {**known.item, "status": status}
        output = items.function_output(f"{known.item['id'].replace('fc_', 'fco_', 1)}", self._turn_id, event)
        return [
            *told,
            Told(seq, "turn.item.done", self._about(done, known.index)),
            Told(seq, "turn.item.added", self._about(output, None)),
        ]

    def _child(self, seq: int, event: ChildStarted | ChildEnded) -> Told:
        started = isinstance(event, ChildStarted)
        _, call = self._asked.get(event.call if started else "", ("", None))
        return Told(
            seq,
            "subagent.created" if started else "subagent.closed",
            {"child": event.child, "prompt": None if call is None else call.arguments, "at": int(event.at)},
        )

    # Names

    @property
    def _turn_id(self) -> str:
        assert self.turn is not None
        return turn_id(self.names.session, self.turn.number)

    def _id(self, prefix: str, place: str) -> str:
        assert self.turn is not None
        return f"{prefix}_{self.names.session}_{self.turn.number}.{place}"

    def _next(self) -> int:
        assert self.turn is not None
        self.turn.index += 1
        return self.turn.index - 1

    def _about(self, item: Item, index: int | None) -> dict[str, Any]:
        return {"item": item, "output_index": index, "turn_id": item["turn_id"]}


def _messages(event: ev.InputReceived) -> Iterable[tuple[UserPart, ...]]:
    """Return the messages that a client sent together."""
    parts = event.parts
    try:
        sizes = msgspec.convert((event.note or {}).get("messages"), list[int])
    except msgspec.ValidationError:
        sizes = list[int]()
    if sum(sizes) != len(parts) or min(sizes, default=0) < 1:
        return [parts or (Text(""),)]
    found: list[tuple[UserPart, ...]] = []
    for size in sizes:
        found.append(parts[:size])
        parts = parts[size:]
    return found


def _error(event: ev.TurnCompleted) -> dict[str, str]:
    reason = event.reason or "the turn failed"
    code = "server_error"
    if event.outcome == "limit":
        code = "session_budget_exceeded" if "$" in reason or "money" in reason else "usage_limit_exceeded"
    elif "context" in reason:
        code = "context_length_exceeded"
    elif "rate" in reason.split():
        code = "rate_limit_exceeded"
    return {"code": code, "message": reason}
