"""A recorded session: its log, as turns, steps and calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from roost.errors import Conflict
from roost.features.hooks.events import PolicyDecided
from roost.features.upgrades.events import SessionMoved
from roost.log import events as ev
from roost.log.content import Text, ToolCall

_STEPS = frozenset({"steps", "session_steps", "tokens", "session_tokens", "money", "session_money"})
"""Limits that the loop finds by itself from the state."""
_OF_CALLS = (ev.SandboxChosen, ev.SandboxLimit, ev.SandboxEnded, ev.SessionTainted, ev.Emitted, ev.TimerSet)
"""Events of the core without a call that belong to the call after them."""


class Item(NamedTuple):
    """An event at its position in the log."""

    seq: int
    event: ev.Event


class RecordedCall:
    """A call of the model, with all its events: questions, intent, outcome, and those of features. name, arguments: as
    the model wrote them."""

    def __init__(self, call: ToolCall) -> None:
        self.call = call
        self.key = canonical(call.name, call.arguments)
        self.items: list[Item] = []
        self.started: ev.ToolStarted | None = None
        self.asked: ev.ApprovalRequested | None = None
        self.completed: Item | None = None
        self.judged = False
        """A hook, a guardrail or the classifier decided about it."""

    def add(self, item: Item) -> None:
        self.items.append(item)
        match item.event:
            case ev.ToolStarted() as event:
                self.started = event
            case ev.ApprovalRequested(cause="policy") as event:
                self.asked = self.asked or event
            case ev.ToolCompleted():
                self.completed = item
            case event:
                self.judged |= isinstance(event, PolicyDecided)

    @property
    def outcome(self) -> ev.ToolCompleted | None:
        event = None if self.completed is None else self.completed.event
        return event if isinstance(event, ev.ToolCompleted) else None

    @property
    def decided(self) -> bool:
        """Whether something beside the gate decided about it: a person, a hook, a guardrail or the classifier."""
        return self.judged or any(
            isinstance(item.event, ev.ApprovalRequested | ev.ApprovalResolved) for item in self.items
        )

    @property
    def featured(self) -> bool:
        """Whether a feature noted something for it, such as a job that it began."""
        return any(type(item.event).__module__.startswith("roost.features.") for item in self.items)


class RecordedStep:
    """A model call that was answered, and the calls of its answer. before: what happened since the step before it.
    within: what features noted while the model answered."""

    def __init__(self, before: list[Item], started: Item) -> None:
        self.before, self.seq = before, started.seq
        assert isinstance(started.event, ev.ModelStarted)
        self.started: ev.ModelStarted = started.event
        self.within: list[Item] = []
        self.answer: ev.ModelCompleted | None = None
        self.calls: list[RecordedCall] = []


class RecordedTurn:
    """A turn that ended. lead: everything between the turn before it and its first step. tail: what happened after its
    last step."""

    def __init__(self, lead: list[Item]) -> None:
        self.lead = lead
        self.steps: list[RecordedStep] = []
        self.tail: list[Item] = []
        self.end: Item = lead[-1]

    @property
    def completed(self) -> ev.TurnCompleted:
        assert isinstance(self.end.event, ev.TurnCompleted)
        return self.end.event

    @property
    def by_itself(self) -> bool:
        """Whether the loop ends the turn by what it knows: not by a person, a failure, the clock or a feature."""
        end = self.completed
        if any(isinstance(item.event, ev.ModelFailed) for item in self.tail):
            return False
        return end.outcome == "answered" or (end.outcome == "limit" and end.reason in _STEPS)

    @property
    def calls(self) -> list[RecordedCall]:
        return [call for step in self.steps for call in step.calls]

    @property
    def answer(self) -> str:
        """The text of its last answer."""
        return text_of(self.steps[-1].answer) if self.steps else ""


class Record:
    """A log as it counts now: without what was rolled back. turns: those that ended. open: whether one had not."""

    def __init__(self, session: str, created: ev.SessionCreated) -> None:
        self.session, self.created = session, created
        self.account: str | None = None
        """Whose the session is, by the store; None for the home, and for a log in a file."""
        self.spec: bytes = bytes(created.spec)
        """The definition that the session pinned last."""
        self.turns: list[RecordedTurn] = []
        self.open = False
        self.level: int | None = None
        """The level of the first sandbox, if there was one."""
        self.own = 0
        """Position of the import, if it was imported: what comes before was decided and measured by another program."""
        self.moved = 0
        """Position at which it moved to its last definition, if it did."""
        self.measured = True
        """Whether nothing but its one definition made the requests: it was not moved to another version, and no hook
        changed an instruction."""

    @property
    def steps(self) -> int:
        """Model calls and tool calls."""
        return sum(len(turn.steps) + len(turn.calls) for turn in self.turns)


def text_of(answer: ev.ModelCompleted | None) -> str:
    return "" if answer is None else "".join(part.text for part in answer.parts if isinstance(part, Text))


def canonical(name: str, arguments: str) -> str:
    """Return what a call is found by: its name and its arguments, in whatever order and spacing they were written."""
    try:
        value = msgspec.json.decode(arguments)
        return f"{name} {msgspec.json.encode(value, order='sorted').decode()}"
    except (msgspec.MsgspecError, RecursionError):
        return f"{name} {arguments}"


def read_record(session: str, items: Iterable[Item]) -> Record:
    """Read a log. Raises `Conflict` (`not_replayable`) if it has no beginning."""
    kept = _counting(items)
    if not kept or not isinstance(kept[0].event, ev.SessionCreated):
        raise Conflict(f"the log of session {session!r} does not begin with its definition", code="not_replayable")
    record = Record(session, kept[0].event)
    reader = _Reader(record)
    for item in kept:
        reader.take(item)
    record.open = reader.turn is not None
    return record


def _counting(items: Iterable[Item]) -> list[Item]:
    """Return the events without those that were rolled back."""
    kept: list[Item] = []
    for item in items:
        if isinstance(item.event, ev.SessionRolledBack):
            while kept and kept[-1].seq > item.event.to:
                kept.pop()
        else:
            kept.append(item)
    return kept


class _Reader:
    def __init__(self, record: Record) -> None:
        self.record = record
        self.turn: RecordedTurn | None = None
        self._between: list[Item] = []
        """Events that belong to no call and no answered step yet."""
        self._waiting: list[Item] = []
        """Events before the call that they belong to."""
        self._step: RecordedStep | None = None
        """The step whose answer or calls are read."""

    def take(self, item: Item) -> None:
        event = item.event
        if isinstance(event, ev.SessionCreated | SessionMoved):
            self.record.spec = bytes(event.spec)
        if isinstance(event, SessionMoved) or (isinstance(event, PolicyDecided) and event.decision == "modify"):
            self.record.measured = False
        if isinstance(event, SessionMoved):
            self.record.moved = item.seq
        if isinstance(event, ev.SessionImported):
            self.record.own = item.seq
        if isinstance(event, ev.SandboxChosen) and self.record.level is None:
            self.record.level = event.level
        match event:
            case ev.TurnStarted():
                self._close()  # a turn that a rollback cut off in its middle never ended: leave it out
                self._between.append(item)
                self.turn = RecordedTurn(self._between)
                self._between = []
            case ev.TurnCompleted() if self.turn is not None:
                self._end(item)
            case ev.ModelStarted() if self.turn is not None:
                self._begin_step(item)
            case ev.ModelCompleted() if self._open_step is not None:
                self._answered(self._open_step, event)
            case ev.ModelFailed() if (step := self._open_step) is not None:
                self._between = [*step.before, Item(step.seq, step.started), *step.within, item]
                self._step = None
            case _:
                self._other(item)

    @property
    def _open_step(self) -> RecordedStep | None:
        return self._step if self._step is not None and self._step.answer is None else None

    def _close(self) -> None:
        if self.turn is not None:
            self.turn, self._step = None, None
            self._between, self._waiting = [], []

    def _begin_step(self, item: Item) -> None:
        assert self.turn is not None
        if (before := self._open_step) is not None:  # a crash cut it off: this is the next attempt
            self._between += before.within
            self._between = [*before.before, *self._between]
        self._flush()
        self._step = RecordedStep(self._between, item)
        self._between = []

    def _answered(self, step: RecordedStep, event: ev.ModelCompleted) -> None:
        assert self.turn is not None
        step.answer = event
        step.calls = [RecordedCall(part) for part in event.parts if isinstance(part, ToolCall)]
        self.turn.steps.append(step)

    def _other(self, item: Item) -> None:
        event, step = item.event, self._step
        if isinstance(event, ev.ModelNotice | ev.ModelLost):
            return
        if step is None or self.turn is None:
            self._between.append(item)
        elif step.answer is None:
            step.within.append(item)
        elif (call := _call_of(step, event)) is not None:
            for one in (*self._waiting, item):
                call.add(one)
            self._waiting = []
        elif isinstance(event, _OF_CALLS) or type(event).__module__.startswith("roost.features."):
            self._waiting.append(item)
        else:
            self._between.append(item)

    def _flush(self) -> None:
        if self._waiting:
            self._between = sorted([*self._between, *self._waiting], key=lambda one: one.seq)
            self._waiting = []

    def _end(self, item: Item) -> None:
        assert self.turn is not None
        if (step := self._open_step) is not None:
            self._between += [*step.before, *step.within]
        self._flush()
        self.turn.tail, self.turn.end = self._between, item
        self.record.turns.append(self.turn)
        self.turn, self._step, self._between = None, None, []


def _call_of(step: RecordedStep, event: ev.Event) -> RecordedCall | None:
    name: Any = getattr(event, "call", None)
    if not isinstance(name, str):
        return None
    for call in step.calls:
        if call.call.id == name:
            return call
    return None
