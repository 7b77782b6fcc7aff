"""The state of a session as data, folded from its events by `roost.agent.fold`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec

from roost.agent.state_parts import (
    Layout,
    StatePart,
    TurnPart,
    new_state_parts,
    new_turn_parts,
    state_parts,
    state_parts_with,
    turn_parts,
    turn_parts_with,
)
from roost.log import events as ev
from roost.log.content import (
    AssistantMessage,
    Message,
    Replay,
    ResultPart,
    Text,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
)
from roost.log.facts import NewFact
from roost.log.schedule_events import TurnLimits
from roost.log.session_info import Phase, SessionState
from roost.models.tokens import estimate

STATE_VERSION = 8
"""Version of the snapshot's shape. A snapshot of another version is ignored: the log is folded again."""

POINTS = 32
"""Undo points that a session keeps: the newest ones."""

PERSON = "a person"
"""`Call.changed_by` when a person, not a hook, changed the arguments."""

SP = TypeVar("SP", bound=StatePart)
TP = TypeVar("TP", bound=TurnPart)
CallStatus: TypeAlias = Literal["planned", "asking", "approved", "rejected", "running", "awaiting", "done"]
"""awaiting: the task is delegated to a child that has not ended."""


class Entry(msgspec.Struct, gc=False):
    """A message in the model's context. tokens: estimated size. turn: number of the turn that it began, or 0. seq:
    position of its event in the log if it is a tool result. head: part of the context header (pins and summary), which
    replaces earlier messages."""

    message: Message
    tokens: int
    turn: int
    seq: int = 0
    head: bool = False


class Call(msgspec.Struct):
    """A tool call of the newest assistant message. cause: what asked for approval, policy or replay. changed: arguments
    that replace the model's. changed_by: the hook or person that set them. undo: as in `ToolStarted`. undone: the files
    were put back to their content before the call."""

    call: ToolCall
    status: CallStatus = "planned"
    attempt: int = 0
    replay: Replay | None = None
    cause: str | None = None
    reason: str | None = None
    result: ToolMessage | None = None
    key: str = ""
    """Idempotency key of its intent."""
    changed: str | None = None
    changed_by: str | None = None
    undo: str | None = None
    undone: bool = False
    seq: int = 0
    """Position of its outcome in the log."""
    held: bool = False
    """Deferred until one of the running children ends."""
    asked: int = 0
    """Position in the log of its newest `approval.requested`."""
    dangers: tuple[ev.Danger, ...] = ()
    prefixes: tuple[str, ...] = ()
    """As in its newest `approval.requested`."""
    code: int | None = None
    """As in `ToolCompleted`."""

    @property
    def arguments(self) -> str:
        """Its effective arguments, as JSON text."""
        return self.call.arguments if self.changed is None else self.changed


class OpenStep(msgspec.Struct):
    """A call of `model` whose outcome is not in the log. context: estimated tokens of the request. single: False once
    the call may have been sent more than once."""

    step: int
    attempt: int
    model: str = ""
    context: int = 0
    single: bool = True


class Trail(msgspec.Struct):
    """Stall detection in one turn. steps: checksums of the newest steps. stale: newest steps in a row that each repeat
    an earlier one. errors: newest steps in a row that only failed. poor: poor plan scores in a row. actions: taken so
    far."""

    steps: list[int] = []
    stale: int = 0
    errors: int = 0
    poor: int = 0
    actions: list[str] = []


class Plan(msgspec.Struct):
    """The plan of an unfinished task."""

    began: float
    goals: tuple[ev.Goal, ...]


class Turn(msgspec.Struct):
    """The open turn. seconds: time that its finished steps took. recalled: memory was searched for it. facts: kept only
    until the turn ends."""

    number: int
    input: int
    started_at: float
    steps: int = 0
    seconds: float = 0.0
    usage: Usage = Usage(cost=0)
    recalled: bool = False
    facts: list[NewFact] = []
    trail: Trail = msgspec.field(default_factory=Trail)
    intent: str = ""
    """What the turn is about, once chosen."""
    tools: tuple[str, ...] | None = None
    calls: str | None = None
    gate: Call | None = None
    """The question that a person must approve before the turn goes on."""
    children: int = 0
    """Number of children that it has started."""
    parts: dict[type[TurnPart], Any] = msgspec.field(default_factory=new_turn_parts)

    def part(self, kind: type[TP]) -> TP:
        """Return a feature's part of the turn."""
        return self.parts[kind]

    @property
    def limits(self) -> list[TurnLimits | None]:
        """Limits of this turn, beside the agent's."""
        return [self.parts[kind].limits for kind in turn_parts_with("limits")]

    @property
    def unattended(self) -> bool:
        """Whether no person waits for the turn."""
        return any(self.parts[kind].unattended for kind in turn_parts_with("unattended"))


class Child(msgspec.Struct):
    """A session with an unfinished task of this one; fields as in `ChildStarted`. waits: for a person."""

    agent: str
    call: str
    background: bool = False
    due: float | None = None
    waits: bool = False


class OpenJob(msgspec.Struct):
    """A background command whose end is not in the log; fields as in `JobStarted`."""

    call: str
    command: str
    began: float
    due: float
    outside: str | None = None


class Kept(msgspec.Struct):
    """A checkpoint. files: as in `CheckpointMade`. turns, steps: counters of the session at that point. of: the session
    in whose home the files are, if that is a session from which this one was forked."""

    seq: int
    at: float
    cause: ev.CheckpointCause
    label: str | None = None
    files: str | None = None
    files_in: Literal["home", "store"] | None = None
    turns: int = 0
    steps: int = 0
    of: str | None = None


class State(msgspec.Struct):
    """Everything that the events of a session add up to.

    entries: the model's context. steps: model calls begun. usage: sum over the session. saved: last snapshot of the
    private files in the shared object store. unsaved: why the files differ from it. points: undo points, newest last,
    stored in `points_in`. undo: snapshot that the files must be put back to before anything else (after a failed
    call, a rollback or a fork); the empty string means no files."""

    agent: str = ""
    spec: bytes = b""
    workspace: str | None = None
    state: SessionState = "created"
    reason: str | None = None
    entries: list[Entry] = []
    tokens: int = 0
    calls: list[Call] = []
    open_step: OpenStep | None = None
    turn: Turn | None = None
    turns: int = 0
    steps: int = 0
    usage: Usage = Usage(cost=0)
    seconds: float = 0.0
    """Working time of its finished turns."""
    tainted: str | None = None
    """The tool that brought in untrusted content."""
    grants: list[str] = []
    """Command prefixes that a person allowed for the rest of the session."""
    timers: dict[str, float] = {}
    saved: str | None = None
    unsaved: str | None = None
    points: list[str] = []
    points_in: Literal["home", "store"] | None = None
    undo: str | None = None
    consolidated: int = 0
    """The newest turn that has been consolidated into memory."""
    consolidating: int = 0
    """Attempts at the next consolidation without an outcome in the log."""

    seq: int = 0
    """Position of the newest event."""
    scale: dict[str, float] = {}
    """By model: tokens that the provider counts for one that we estimate."""
    pins: dict[str, str] = {}
    unsaid: dict[str, str | None] = {}
    """Unannounced pins: set by a person, not yet seen by the model."""
    summary: str = ""
    plan: Plan | None = None
    compact: bool = False
    """True while an order to compact the context is pending."""
    compacting: int = 0
    """Attempts at a summary without an outcome in the log."""
    checkpoints: list[Kept] = []
    """Newest last."""
    rolled: int = 0
    """Position of the newest rollback; 0 = none."""
    rolled_by: int = 0
    """Id of the input that asked for it."""
    base: int = 0
    """Position of `session.forked` or `session.imported`: the log after it is this session's own; 0 = all of it."""
    source: str | None = None
    """The session that made the undo point in `undo`, if this one is a fork of it."""
    family: ev.Family | None = None
    """Lineage, if another session made this one."""
    children: dict[str, Child] = {}
    """By id: children with an unfinished task of this session."""
    jobs: dict[str, OpenJob] = {}
    seen: dict[str, str] = {}
    """Files that the model has read or written, newest last: path in the workspace -> digest of the content."""
    parts: dict[type[StatePart], Any] = msgspec.field(default_factory=new_state_parts)

    def part(self, kind: type[SP]) -> SP:
        """Return a feature's part of the state."""
        return self.parts[kind]

    @property
    def busy(self) -> bool:
        """Whether the session has work outside a turn."""
        return any(self.parts[kind].busy for kind in state_parts_with("busy"))

    @property
    def money_limited(self) -> bool:
        """Whether a turn may have had a money limit beside the agent's."""
        return any(self.parts[kind].money_limited for kind in state_parts_with("money_limited"))

    def holds(self, call: Call) -> bool:
        """Whether `call` is deferred until a child ends. Without children there is nothing to wait for."""
        return call.held and bool(self.children)

    @property
    def phase(self) -> Phase:
        if self.turn is None:
            return "working" if self.compact or self.jobs else "idle"
        waiting = self.turn.gate is not None and self.turn.gate.status == "asking"
        for call in reversed(self.calls):  # the last one is mostly the last to end
            if call.status in ("asking", "awaiting") or self.holds(call):
                waiting = True
            elif call.status != "done":
                return "working"
        return "waiting" if waiting else "working"

    @property
    def asking(self) -> list[Call]:
        """Calls that wait for a person."""
        gate = () if self.turn is None or self.turn.gate is None else (self.turn.gate,)
        return [call for call in (*gate, *self.calls) if call.status == "asking"]

    @property
    def answered(self) -> bool:
        """Whether the model's answer is the newest message and asks for no tool."""
        return bool(self.entries) and not self.calls and isinstance(self.entries[-1].message, AssistantMessage)

    def call(self, call: str) -> Call | None:
        for one in self.calls:
            if one.call.id == call:
                return one
        gate = None if self.turn is None else self.turn.gate
        return gate if gate is not None and gate.call.id == call else None


_NAMES = (
    *("agent", "spec", "workspace", "state", "reason", "entries", "tokens", "calls", "open_step", "turn", "turns"),
    *("steps", "usage", "seconds", "tainted", "grants", "timers", "saved", "unsaved", "points", "points_in", "undo"),
    *("consolidated", "consolidating", "seq", "scale", "pins", "unsaid", "summary", "plan", "compact", "compacting"),
    *("checkpoints", "rolled", "rolled_by", "base", "source", "family", "children", "schedules", "firing", "clear"),
    *("aside", "limited", "jobs", "seen"),
)
_TURN_NAMES = (
    *("number", "input", "started_at", "steps", "seconds", "usage", "recalled", "facts", "trail", "intent", "tools"),
    *("calls", "gate", "children", "firing"),
)
_encode = msgspec.msgpack.Encoder().encode


@cache
def layout() -> Layout:
    """Return the persisted layout of a state."""
    return Layout(State, _NAMES, state_parts(), {"turn": Layout(Turn, _TURN_NAMES, turn_parts())})


@cache
def _decode() -> Callable[[bytes], Any]:
    return msgspec.msgpack.Decoder(layout().struct).decode


def encode_state(state: State) -> bytes:
    return _encode(layout().flatten(state))


def decode_state(body: bytes) -> State:
    return layout().build(_decode()(body))


_message = attrgetter("message")


def transcript(state: State) -> tuple[Message, ...]:
    """Return the messages in a form that every provider accepts: an open call gets a stand-in result."""
    said: map[Message] = map(_message, state.entries)
    return (*said, *[call.result or stand_in(call) for call in state.calls]) if state.calls else tuple(said)


def stand_in(call: Call) -> ToolMessage:
    """Return a placeholder result for a call that has none."""
    return ToolMessage(call.call.id, call.call.name, (Text("[no result yet]"),), True)


def unheard(state: State) -> list[Entry]:
    """Return the messages of this turn that the model has not answered yet."""
    found: list[Entry] = []
    for entry in reversed(state.entries):
        if not isinstance(entry.message, UserMessage):
            break
        found.append(entry)
        if state.turn is not None and entry.turn == state.turn.number:
            break
    return found[::-1]


def message_of(state: State, turn: int) -> Entry | None:
    """Return the message that began the turn."""
    return next((one for one in reversed(state.entries) if one.turn == turn), None)


def replace_message(state: State, entry: Entry, message: Message) -> None:
    """Put `message` into the place of a message in the context."""
    tokens = estimate(message)
    state.tokens += tokens - entry.tokens
    entry.message, entry.tokens = message, tokens


def result_text(parts: tuple[ResultPart, ...]) -> str:
    """Return the text of a tool's result, for people."""
    return "\n".join(part.text if isinstance(part, Text) else f"[{part.media_type}]" for part in parts)
