"""Events: everything that happens in a session is one. Those of a feature stand in its folder.

An event is stored as JSON with a `type` tag. Fields may be added with a default. A change that is not additive gets a
new class with the tag `name.2` beside the old one; the fold keeps reading the old one. `tests/golden` pins the
bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, Union

import msgspec

from roost import registry
from roost.errors import UnknownEvent
from roost.log.content import (
    AssistantPart,
    ErrorData,
    Replay,
    ResultPart,
    StopReason,
    ToolOutcome,
    Usage,
    UserPart,
)
from roost.log.session_info import ControlAction, Decision, GrantScope, InputMode, SessionState, TurnOutcome

FORMAT = 8
"""Raise this with every event kind, or field that the fold needs, that an older version cannot read. A node runs only
sessions whose log was written in its own format or an older one, so versions may be mixed during a cluster upgrade.
`tests/golden` pins the shape of the log for this number."""

ChildOutcome: TypeAlias = Literal[TurnOutcome, "timeout", "stopped", "error", "deleted"]
"""How a delegated task ended: as its turn did, by its deadline, or because its session stopped, failed or was
deleted."""
JobOutcome: TypeAlias = Literal["exited", "stopped", "timeout", "lost"]
"""How a background command ended. exited: by itself. stopped: a person or a call stopped it. timeout: at its deadline.
lost: unknown."""

StallKind: TypeAlias = Literal["repeat", "cycle", "no_progress", "errors", "poor"]
"""repeat: the same step again. cycle: a few steps in rotation. no_progress: nothing new. errors: no call succeeded.
poor: a low score by the model's own judgement."""


class Spent(NamedTuple):
    """The cost of model calls. usage: None when they cannot have cost anything. seconds: how long they took; None: not
    known. model: the one that answered; None: that of the newest intent of the same purpose. name: stands for the
    model's where the log has none. exact: the usage is all that the provider counted for one answer."""

    usage: Usage | None
    seconds: float | None = None
    model: str | None = None
    name: str | None = None
    exact: bool = True


class Question(NamedTuple):
    """A call that waits for a person. session: where it waits, if not in the session of the event. due: wall time at
    which the wait ends by itself."""

    call: str
    session: str | None = None
    due: float | None = None


class Event(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", gc=False):
    """Base of all events.

    margin: what stands before its `line` on a terminal.
    purpose: what the model calls are for that the event begins (`asks`) or ends (`spent`).
    """

    margin: ClassVar[str] = "  "
    purpose: ClassVar[str] = "answer"
    at: float
    """Wall clock, seconds since 1970. For information only: the sequence number defines the order."""

    @property
    def line(self) -> str | None:
        """What a terminal shows of the event; None: nothing, or by `roost.cli.event_lines`, which knows the core's."""
        return None

    @property
    def asks(self) -> str | None:
        """The model that is about to be called; None for an event that is no such intent."""
        return None

    @property
    def spent(self) -> Spent | None:
        """What the model calls that ended with the event have cost; None for an event that ends none."""
        return None

    @property
    def question(self) -> Question | None:
        """The call that waits for a person since this event."""
        return None

    @property
    def starts(self) -> str | None:
        """Another session that has work since this event, of the one that the event is in."""
        return None


class Ancestor(msgspec.Struct, frozen=True, omit_defaults=True):
    """A session above another one in its lineage. money: nano-dollars that it and all its descendants may spend
    together; None means no limit."""

    session: str
    money: int | None = None


class Family(msgspec.Struct, frozen=True, omit_defaults=True):
    """The lineage of a session that another one made for a delegated task. above: its ancestors, the parent last.
    levels: levels of children allowed below it, within what its ancestors allow. background: the parent does not wait
    for it."""

    above: tuple[Ancestor, ...]
    levels: int
    background: bool = False

    @property
    def parent(self) -> str:
        return self.above[-1].session


class Goal(msgspec.Struct, frozen=True):
    """A sub-goal of a long task."""

    text: str
    state: Literal["todo", "doing", "done", "dropped"] = "todo"


class SessionCreated(Event, frozen=True, tag="session.created"):
    """spec: the agent's definition as data; the session pins it. tainted: the source that makes the whole session
    untrusted."""

    agent: str
    version: str
    spec: msgspec.Raw
    workspace: str | None = None
    title: str | None = None
    labels: dict[str, str] = {}
    parent: str | None = None
    family: Family | None = None
    tainted: str | None = None


class StateChanged(Event, frozen=True, tag="session.state"):
    """The session has a new state. reason: why."""

    state: SessionState
    reason: str | None = None


class ControlApplied(Event, frozen=True, tag="control.applied"):
    """A control took effect. input: the id of its inbox item. account: the one that ordered it."""

    action: ControlAction
    input: int
    account: str | None = None


class InputReceived(Event, frozen=True, tag="input.received"):
    """An inbox item became part of the conversation. note: what its sender keeps with it; the agent does not see it.
    account: the one that sent it."""

    input: int
    parts: tuple[UserPart, ...]
    mode: InputMode = "follow_up"
    source: str | None = None
    note: dict[str, Any] | None = None
    account: str | None = None


class TurnStarted(Event, frozen=True, tag="turn.started"):
    """A turn began. turn: counts the turns of the session. input: the id of the inbox item that began it."""

    turn: int
    input: int


class ModelStarted(Event, frozen=True, tag="model.started"):
    """Intent: the request is about to be sent. step: counts the model calls of the session. attempt: from 1. context:
    estimated tokens of the whole request."""

    step: int
    model: str
    attempt: int = 1
    context: int = 0

    @property
    def asks(self) -> str:
        return self.model


class ModelCompleted(Event, frozen=True, tag="model.completed"):
    """The answer of a model call. seconds: duration of the call and of the checks after it."""

    step: int
    parts: tuple[AssistantPart, ...]
    stop: StopReason = "end"
    usage: Usage = Usage()
    seconds: float = 0.0
    model: str | None = None
    """The model that answered, if it differs from that of `model.started`."""

    @property
    def spent(self) -> Spent:
        return Spent(self.usage, self.seconds, self.model)


class ModelNotice(Event, frozen=True, tag="model.notice"):
    """Something that happened during a model call. kind: route, retry, fallback, breaker, limit, budget, recovery,
    repair, restart or early. data: see `roost.models.request.Notice`; for early, `dropped` counts speculative calls
    that started while the model answered and are not in its final answer."""

    step: int
    kind: str
    data: dict[str, Any] = {}


class ModelLost(Event, frozen=True, tag="model.lost"):
    """A crash cut off attempt `attempt` of a step. usage: an upper estimate of what its calls may have cost."""

    step: int
    attempt: int
    usage: Usage = Usage()

    @property
    def spent(self) -> Spent:
        return Spent(self.usage, exact=False)


class ModelFailed(Event, frozen=True, tag="model.failed"):
    """The step produced no result after all retries and fallbacks. error.retryable: whether a later retry may help.
    usage: what its calls cost nevertheless; None when they cannot have cost anything."""

    step: int
    error: ErrorData
    seconds: float = 0.0
    usage: Usage | None = None

    @property
    def spent(self) -> Spent:
        return Spent(self.usage, self.seconds or None, exact=False)


class ToolStarted(Event, frozen=True, tag="tool.started"):
    """Intent: the tool is about to run. key: the idempotency key, the same for every attempt. why: the decision source,
    i.e. the policy layer and rule that allowed it. undo: the snapshot that the private files are restored to unless the
    call succeeds; empty means no files, None means they stay as they are. early: a speculative call: it only reads, and
    started before the answer was complete."""

    call: str
    name: str
    replay: Replay
    key: str
    attempt: int = 1
    why: str | None = None
    undo: str | None = None
    early: bool = False


class ToolCompleted(Event, frozen=True, tag="tool.completed"):
    """The outcome of a tool call. parts: what the model sees. seconds: how long the call ran."""

    call: str
    outcome: ToolOutcome
    parts: tuple[ResultPart, ...] = ()
    seconds: float = 0.0
    why: str | None = None
    """Of a denied call: the decision source."""
    seen: dict[str, str | None] = {}
    """Files whose content the model knows from now on: path in the workspace -> digest. None: the model no longer knows
    it."""
    code: int | None = None
    """Exit code of the command that the call ran to its end; negative: the signal that killed it."""


class Danger(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part of a command that a person should see before they answer. text: the part, as the analyser shows it. why:
    its effect. start, end: its position in the command, in characters; None if the command spells it differently (a
    variable, a quoted inner command)."""

    text: str
    why: str
    start: int | None = None
    end: int | None = None


class RuleOffer(msgspec.Struct, frozen=True):
    """A standing rule that an answer may make (`roost.policy.standing_rules`). says: what it allows, for people.
    scopes: where it may count: in this session, in all of its user and agent, or in all of its user."""

    rule: str
    says: str
    scopes: tuple[GrantScope, ...] = ("session",)


class ApprovalRequested(Event, frozen=True, tag="approval.requested"):
    """cause: the policy asks before a first run, or recovery asks before a repeated run. why: the decision source, i.e.
    the policy layer and rule that ask. due: wall time at which an unanswered request counts as rejected. dangers: the
    parts of a command to show first. offers: the standing rules that an answer may make, each of which would have
    allowed this call. prefixes: those that are beginnings of a command (`npm test`)."""

    call: str
    name: str
    arguments: str
    reason: str
    cause: Literal["policy", "replay"] = "policy"
    why: str | None = None
    due: float | None = None
    dangers: tuple[Danger, ...] = ()
    prefixes: tuple[str, ...] = ()
    offers: tuple[RuleOffer, ...] = ()

    @property
    def question(self) -> Question:
        return Question(self.call, due=self.due)


class ApprovalResolved(Event, frozen=True, tag="approval.resolved"):
    """arguments: for `modify`, the JSON text of the arguments that the call runs with instead. always: the standing
    rules that the answer makes, which count where `scope` says. account: the one that answered."""

    call: str
    decision: Decision
    note: str | None = None
    source: str | None = None
    arguments: str | None = None
    always: tuple[str, ...] = ()
    scope: GrantScope | None = None
    account: str | None = None


class TimerSet(Event, frozen=True, tag="timer.set"):
    """A durable timer was set or moved. due: wall time, seconds."""

    timer: str
    due: float


class TimerFired(Event, frozen=True, tag="timer.fired"):
    """A durable timer came due. input: the id of the inbox item that it made."""

    timer: str
    input: int


class TimerCleared(Event, frozen=True, tag="timer.cleared"):
    """A durable timer was removed."""

    timer: str


class TurnCompleted(Event, frozen=True, tag="turn.completed"):
    """reason: the limit or the error when the outcome is not an answer. seconds: working time, without waiting for
    people."""

    turn: int
    outcome: TurnOutcome
    reason: str | None = None
    steps: int = 0
    usage: Usage = Usage()
    seconds: float = 0.0


class SandboxChosen(Event, frozen=True, tag="sandbox.chosen"):
    """The sandbox of the session's commands since it woke, logged with the first command. why: why it is weaker than
    the agent prefers, and what would help."""

    level: int
    backend: str
    why: str | None = None


class SandboxLimit(Event, frozen=True, tag="sandbox.limit"):
    """A limit was hit: of a command (`wall_seconds`, `cpu_seconds`, `file_bytes`), of the whole sandbox
    (`memory_bytes`, `pids`, `network`), of the workspace (`workspace_bytes`, `workspace_files`) or of the machine's
    disk (`free_bytes`). killed: the limit killed the command."""

    limit: str
    killed: bool = False


class SandboxEnded(Event, frozen=True, tag="sandbox.ended"):
    """The session's sandbox ended, with `background` programs that ran between commands. The next command gets a new
    sandbox."""

    reason: str
    background: int = 0


class SessionTainted(Event, frozen=True, tag="session.tainted"):
    """The tool `by` is about to show untrusted content to the model. From now on the policy is stricter with calls that
    have outside effects, until a person sends `trust`."""

    by: str


class SessionRolledBack(Event, frozen=True, tag="session.rolled_back"):
    """The session is as it was after event `to`: its conversation and, in the same commit, its changes of the memory.
    After that its private files are restored to the snapshot `files` (`workspace.restored`); empty means no files, None
    means they stay. why_no_files: why they stay, or are older than the conversation. Counters, usage and timers are not
    rolled back."""

    to: int
    input: int
    label: str | None = None
    files: str | None = None
    why_no_files: str | None = None


class SessionForked(Event, frozen=True, tag="session.forked"):
    """The log up to here is that of `source` up to and including event `position`. files: the private files at the
    start, a snapshot of the source's, kept in its `home` or in the `store`; empty means no files; None means none were
    taken, and `why_no_files` says why. Usage starts at zero, and there are no timers. dropped: positions of earlier
    checkpoints that the fork does not keep."""

    source: str
    position: int
    title: str | None = None
    labels: dict[str, str] = {}
    files: str | None = None
    files_in: Literal["home", "store"] | None = None
    why_no_files: str | None = None
    dropped: tuple[int, ...] = ()


class SessionImported(Event, frozen=True, tag="session.imported"):
    """The log up to here was imported from a file in `format`, where it belonged to the session `source`. Running work
    of that session ended; its timers, files and costs were not imported."""

    source: str
    format: Literal["roost", "claude-code", "codex"] = "roost"


class Emitted(Event, frozen=True, tag="emitted"):
    """A program's own event, appended with `emit`."""

    name: str
    data: Any = None


CORE: tuple[type[Event], ...] = (
    SessionCreated,
    StateChanged,
    ControlApplied,
    InputReceived,
    TurnStarted,
    ModelStarted,
    ModelCompleted,
    ModelNotice,
    ModelLost,
    ModelFailed,
    ToolStarted,
    ToolCompleted,
    ApprovalRequested,
    ApprovalResolved,
    TimerSet,
    TimerFired,
    TimerCleared,
    TurnCompleted,
    SandboxChosen,
    SandboxLimit,
    SandboxEnded,
    SessionTainted,
    SessionRolledBack,
    SessionForked,
    SessionImported,
    Emitted,
)
"""The events of log and loop. Features have theirs in `roost/features/NAME/events.py`."""
_encoder = msgspec.json.Encoder()


def event_types() -> tuple[type[Event], ...]:
    """Return all kinds of events: those of the core and of every feature."""
    return tuple(_tags())


@cache
def _tags() -> Mapping[type[Event], str]:
    return registry.kinds("EVENTS", CORE)


@cache
def declaring(*properties: str) -> tuple[type[Event], ...]:
    """Return the kinds of events that override one of these properties of `Event`."""
    return tuple(
        kind for kind in event_types() if any(getattr(kind, name) is not getattr(Event, name) for name in properties)
    )


def beginning_of(kind: type[Event]) -> bytes:
    """Return the prefix that every encoded event of this kind has, and no other event."""
    return b'{"type":%b' % _encoder.encode(event_type(kind))


@cache
def any_event() -> Any:
    """Return the union of all kinds of events, as a type for a codec or a schema."""
    return Union[event_types()]  # noqa: UP007 - the types are known at run time


@cache
def _decoder() -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(any_event())


def event_type(event: Event | type[Event]) -> str:
    """Return the tag, for example `turn.completed`."""
    return str(event.__struct_config__.tag)


def encode_event(event: Event) -> bytes:
    """Encode an event. Raises `TypeError` for a kind that nobody could read again."""
    if type(event) not in _tags():
        raise TypeError(f"{type(event).__module__}.{type(event).__name__} is not in `EVENTS` of its `events.py`")
    return _encoder.encode(event)


def decode_event(body: bytes) -> Event:
    """Decode a stored event. Raises `UnknownEvent` for a kind that this version does not know or a body that is not an
    event."""
    try:
        return _decoder().decode(body)
    except msgspec.MsgspecError as error:
        raise UnknownEvent(f"cannot read an event of this log: {error}. A newer Roost may have written it") from error
