"""The state of a session, as data: what `roost.agent.fold` makes of its events."""

from __future__ import annotations

from operator import attrgetter
from typing import Literal, TypeAlias

import msgspec

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
from roost.log.schedule_events import ScheduleSpec, TurnLimits

STATE_VERSION = 8
"""Of the snapshot's shape. Another version is not read: the log is folded again."""

POINTS = 32
"""Snapshots that a session can go back to: the newest."""

PERSON = "a person"
"""Who changed the arguments of a call, beside hooks."""

CallStatus: TypeAlias = Literal["planned", "asking", "approved", "rejected", "running", "awaiting", "done"]
"""`awaiting`: a child has its task."""


class Entry(msgspec.Struct, gc=False):
    """A message in the model's context; `tokens` is an estimate, `turn` the number of the turn that it began, or 0.
    `seq` is the position in the log of a tool's output, `head` marks what stands in place of earlier messages."""

    message: Message
    tokens: int
    turn: int
    seq: int = 0
    head: bool = False


class Call(msgspec.Struct):
    """A tool call of the newest assistant message. `cause` says who asked for the approval. `changed`: the arguments
    with which it runs instead of the model's, and `changed_by` whose they are. `undo`: as of `ToolStarted`, and
    `undone`: the files are again what they were before it."""

    call: ToolCall
    status: CallStatus = "planned"
    attempt: int = 0
    replay: Replay | None = None
    cause: str | None = None
    reason: str | None = None
    result: ToolMessage | None = None
    key: str = ""
    """Of its intent."""
    changed: str | None = None
    changed_by: str | None = None
    undo: str | None = None
    undone: bool = False
    seq: int = 0
    """Of its outcome."""
    held: bool = False
    """Until one of the children ends."""
    asked: int = 0
    """The position in the log of its newest `approval.requested`."""
    dangers: tuple[ev.Danger, ...] = ()
    prefixes: tuple[str, ...] = ()
    """As of its newest `approval.requested`."""
    code: int | None = None
    """As of `ToolCompleted`."""

    @property
    def arguments(self) -> str:
        """With which it runs: JSON text."""
        return self.call.arguments if self.changed is None else self.changed


class OpenStep(msgspec.Struct):
    """A call of `model` whose outcome is not in the log. `context`: our estimate of what was sent; `single`: once, as
    far as is known."""

    step: int
    attempt: int
    model: str = ""
    context: int = 0
    single: bool = True


class Schedule(msgspec.Struct):
    """`next`: when it comes due, before it is put off; None while it is paused. `last`: when it came due that ran last.
    `idle`: turns in a row, up to now, in which there was nothing to do."""

    spec: ScheduleSpec
    next: float | None = None
    paused: Literal["person", "idle"] | None = None
    last: float | None = None
    turn: int | None = None
    idle: int = 0


class Firing(msgspec.Struct):
    """What began a turn in which nobody has spoken."""

    schedule: str
    heartbeat: bool = False
    limits: TurnLimits | None = None


class Aside(msgspec.Struct):
    """The conversation while a turn runs that does not see it."""

    entries: list[Entry]
    summary: str
    unsaid: dict[str, str | None]


class Trail(msgspec.Struct):
    """Of a turn, as of `roost.agent.stalls`: checksums of its newest steps, how many of the last were `stale` or all
    `errors`, how many scores of the plan `poor`, and the `actions` that were taken."""

    steps: list[int] = []
    stale: int = 0
    errors: int = 0
    poor: int = 0
    actions: list[str] = []


class Plan(msgspec.Struct):
    """Of a task that is not over."""

    began: float
    goals: tuple[ev.Goal, ...]


class Turn(msgspec.Struct):
    """The open turn. `seconds` is the time its finished steps took. `recalled`: memory was asked what fits it. `facts`:
    those that last as long as it."""

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
    """What it is about, once that was chosen."""
    tools: tuple[str, ...] | None = None
    calls: str | None = None
    gate: Call | None = None
    """What a person must say yes to before it goes on."""
    children: int = 0
    """That it has begun."""
    firing: Firing | None = None


class Child(msgspec.Struct):
    """A session that has a task of this one and has not ended it; as of `ChildStarted`. `waits`: for a person."""

    agent: str
    call: str
    background: bool = False
    due: float | None = None
    waits: bool = False


class OpenJob(msgspec.Struct):
    """A command in the background whose end is not in the log; as of `JobStarted`."""

    call: str
    command: str
    began: float
    due: float
    outside: str | None = None


class Kept(msgspec.Struct):
    """A checkpoint. `files` as of `CheckpointMade`; `turns` and `steps`: how far the session was. `of`: the session in
    whose home these files are kept, where that is one which this one was forked from."""

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
    """`steps` counts model calls begun; `usage` sums the session; `entries` is what the model sees. `saved` is the last
    snapshot of the private files in the store that nodes share, `unsaved` why they are not what it holds. `points` are
    those that can be gone back to, the newest last, kept `points_in`; `undo` is the one that they must go back to
    before anything else, for a call has ended that did not end well; empty is no file."""

    agent: str = ""
    spec: bytes = b""
    workspace: str | None = None
    state: ev.SessionState = "created"
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
    """For which its turns have worked."""
    tainted: str | None = None
    """The tool by which it has seen what comes from outside."""
    grants: list[str] = []
    """Command prefixes that a person has allowed for the rest of the session."""
    timers: dict[str, float] = {}
    saved: str | None = None
    unsaved: str | None = None
    points: list[str] = []
    points_in: Literal["home", "store"] | None = None
    undo: str | None = None
    consolidated: int = 0
    """The turn up to which memory has taken what is worth keeping."""
    consolidating: int = 0
    """Attempts at the next of these that have no outcome."""

    seq: int = 0
    """Of the newest event."""
    scale: dict[str, float] = {}
    """By model: tokens that the provider counts to one that we estimate."""
    pins: dict[str, str] = {}
    unsaid: dict[str, str | None] = {}
    """Pins of a person that the model has not heard of."""
    summary: str = ""
    plan: Plan | None = None
    compact: bool = False
    """A person wants the context made smaller."""
    compacting: int = 0
    """Attempts at a summary that have no outcome."""
    checkpoints: list[Kept] = []
    """The newest last."""
    rolled: int = 0
    """The position of the newest rollback; 0: there was none."""
    rolled_by: int = 0
    """The input that asked for it."""
    base: int = 0
    """Where the log begins to be this session's own: the position of `session.forked` or `session.imported`."""
    source: str | None = None
    """The session whose snapshot `undo` is: the files are forked from it."""
    family: ev.Family | None = None
    """Where it comes from, if another session has made it."""
    children: dict[str, Child] = {}
    """Those that have a task of it."""
    schedules: dict[str, Schedule] = {}
    firing: Firing | None = None
    """Of the turn that begins."""
    clear: bool = False
    """What is said next does not go on with the conversation, which is set aside."""
    aside: Aside | None = None
    limited: bool = False
    """A turn by a schedule had a limit of money, or may have had."""
    jobs: dict[str, OpenJob] = {}
    seen: dict[str, str] = {}
    """Files that the model has read or written, the newest last: path in the workspace -> digest of what it was."""

    def holds(self, call: Call) -> bool:
        """Whether it waits for one of the children to end. With none there is nothing to wait for."""
        return call.held and bool(self.children)

    @property
    def phase(self) -> ev.Phase:
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
        """What waits for a person."""
        gate = () if self.turn is None or self.turn.gate is None else (self.turn.gate,)
        return [call for call in (*gate, *self.calls) if call.status == "asking"]

    @property
    def answered(self) -> bool:
        """Whether the model has had the last word."""
        return bool(self.entries) and not self.calls and isinstance(self.entries[-1].message, AssistantMessage)

    def call(self, call: str) -> Call | None:
        for one in self.calls:
            if one.call.id == call:
                return one
        gate = None if self.turn is None else self.turn.gate
        return gate if gate is not None and gate.call.id == call else None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(State)


def encode_state(state: State) -> bytes:
    return _encoder.encode(state)


def decode_state(body: bytes) -> State:
    return _decoder.decode(body)


_message = attrgetter("message")


def transcript(state: State) -> tuple[Message, ...]:
    """The messages as every provider accepts them: a call without outcome gets a stand-in result."""
    said: map[Message] = map(_message, state.entries)
    return (*said, *[call.result or stand_in(call) for call in state.calls]) if state.calls else tuple(said)


def stand_in(call: Call) -> ToolMessage:
    """The result of a call that has none."""
    return ToolMessage(call.call.id, call.call.name, (Text("[no result yet]"),), True)


def unheard(state: State) -> list[Entry]:
    """What was said in this turn since the model said something."""
    found: list[Entry] = []
    for entry in reversed(state.entries):
        if not isinstance(entry.message, UserMessage):
            break
        found.append(entry)
        if state.turn is not None and entry.turn == state.turn.number:
            break
    return found[::-1]


def result_text(parts: tuple[ResultPart, ...]) -> str:
    """The text of a tool's result, for people."""
    return "\n".join(part.text if isinstance(part, Text) else f"[{part.media_type}]" for part in parts)
