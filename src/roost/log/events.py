"""The closed union of events: everything that happens in a session is one of these.

An event is stored as JSON with a `type` tag. Fields may be added with a default. A change that is not additive gets a
new class with the tag `name.2` beside the old one; the fold keeps reading the old one. `tests/golden` pins the
bytes.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

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
from roost.log.facts import NewFact, RecalledFact
from roost.log.schedule_events import ScheduleSpec

FORMAT = 4
"""Raise this with every event kind, or field that the fold needs, that an older version cannot read. A node runs only
sessions whose log was written in its own format or an older one, so versions may be mixed during a cluster upgrade."""

SessionState: TypeAlias = Literal["created", "running", "paused", "stopped", "error"]
Phase: TypeAlias = Literal["idle", "working", "waiting"]
InputMode: TypeAlias = Literal["follow_up", "steer"]
ControlAction: TypeAlias = Literal["start", "pause", "resume", "cancel", "stop", "trust", "compact"]
Decision: TypeAlias = Literal["approve", "reject", "modify"]
CheckpointCause: TypeAlias = Literal["manual", "interval", "pause", "stop", "risky", "rollback", "fork"]
TurnOutcome: TypeAlias = Literal["answered", "cancelled", "limit", "failed"]
ChildOutcome: TypeAlias = Literal[TurnOutcome, "timeout", "stopped", "error", "deleted"]
"""How a delegated task ended: as its turn did, by its deadline, or because its session stopped, failed or was
deleted."""
JobOutcome: TypeAlias = Literal["exited", "stopped", "timeout", "lost"]
"""How a background command ended. exited: by itself. stopped: a person or a call stopped it. timeout: at its deadline.
lost: unknown."""


StallKind: TypeAlias = Literal["repeat", "cycle", "no_progress", "errors", "poor"]
"""repeat: the same step again. cycle: a few steps in rotation. no_progress: nothing new. errors: no call succeeded.
poor: a low score by the model's own judgement."""


class _Event(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", gc=False):
    at: float
    """Wall clock, seconds since 1970. For information only: the sequence number defines the order."""


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


class SessionCreated(_Event, frozen=True, tag="session.created"):
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


class StateChanged(_Event, frozen=True, tag="session.state"):
    """The session has a new state. reason: why."""

    state: SessionState
    reason: str | None = None


class ControlApplied(_Event, frozen=True, tag="control.applied"):
    """A control took effect. input: the id of its inbox item."""

    action: ControlAction
    input: int


class InputReceived(_Event, frozen=True, tag="input.received"):
    """An inbox item became part of the conversation."""

    input: int
    parts: tuple[UserPart, ...]
    mode: InputMode = "follow_up"
    source: str | None = None


class TurnStarted(_Event, frozen=True, tag="turn.started"):
    """A turn began. turn: counts the turns of the session. input: the id of the inbox item that began it."""

    turn: int
    input: int


class ModelStarted(_Event, frozen=True, tag="model.started"):
    """Intent: the request is about to be sent. step: counts the model calls of the session. attempt: from 1. context:
    estimated tokens of the whole request."""

    step: int
    model: str
    attempt: int = 1
    context: int = 0


class ModelCompleted(_Event, frozen=True, tag="model.completed"):
    """The answer of a model call. seconds: duration of the call and of the checks after it."""

    step: int
    parts: tuple[AssistantPart, ...]
    stop: StopReason = "end"
    usage: Usage = Usage()
    seconds: float = 0.0
    model: str | None = None
    """The model that answered, if it differs from that of `model.started`."""


class ModelNotice(_Event, frozen=True, tag="model.notice"):
    """Something that happened during a model call. kind: route, retry, fallback, breaker, limit, budget, recovery,
    repair, restart or early. data: see `roost.models.request.Notice`; for early, `dropped` counts speculative calls
    that started while the model answered and are not in its final answer."""

    step: int
    kind: str
    data: dict[str, Any] = {}


class ModelLost(_Event, frozen=True, tag="model.lost"):
    """A crash cut off attempt `attempt` of a step. usage: an upper estimate of what its calls may have cost."""

    step: int
    attempt: int
    usage: Usage = Usage()


class ModelFailed(_Event, frozen=True, tag="model.failed"):
    """The step produced no result after all retries and fallbacks. error.retryable: whether a later retry may help.
    usage: what its calls cost nevertheless; None when they cannot have cost anything."""

    step: int
    error: ErrorData
    seconds: float = 0.0
    usage: Usage | None = None


class ToolStarted(_Event, frozen=True, tag="tool.started"):
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


class ToolCompleted(_Event, frozen=True, tag="tool.completed"):
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


GrantScope: TypeAlias = Literal["session", "agent", "user"]


class Danger(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part of a command that a person should see before they answer. text: the part, as the analyser shows it. why:
    its effect. start, end: its position in the command, in characters; None if the command spells it differently (a
    variable, a quoted inner command)."""

    text: str
    why: str
    start: int | None = None
    end: int | None = None


class ApprovalRequested(_Event, frozen=True, tag="approval.requested"):
    """cause: the policy asks before a first run, or recovery asks before a repeated run. why: the decision source, i.e.
    the policy layer and rule that ask. due: wall time at which an unanswered request counts as rejected. dangers: the
    parts of a command to show first. prefixes: prefixes of the command (`npm test`) that an answer may allow from now
    on; all of them are needed to allow this command."""

    call: str
    name: str
    arguments: str
    reason: str
    cause: Literal["policy", "replay"] = "policy"
    why: str | None = None
    due: float | None = None
    dangers: tuple[Danger, ...] = ()
    prefixes: tuple[str, ...] = ()


class ApprovalResolved(_Event, frozen=True, tag="approval.resolved"):
    """arguments: for `modify`, the JSON text of the arguments that the call runs with instead. always: command prefixes
    allowed from now on, for the time and users that `scope` names."""

    call: str
    decision: Decision
    note: str | None = None
    source: str | None = None
    arguments: str | None = None
    always: tuple[str, ...] = ()
    scope: GrantScope | None = None


class IntentChosen(_Event, frozen=True, tag="intent.chosen"):
    """The turn intent, chosen because the input has `word`, or as the default. tools: the tools available in this turn,
    None means all. confirm: the turn continues after a person approves the call `turn:N`. calls: the intent of its
    model calls."""

    turn: int
    intent: str
    tools: tuple[str, ...] | None = None
    word: str | None = None
    confirm: bool = False
    calls: str | None = None


class PlanChanged(_Event, frozen=True, tag="plan.changed"):
    """The sub-goals of a long task, set by the tool call `call`. ended: how many are done or dropped. score: progress
    by the model's own judgement, 1 to 5. eta: seconds that the rest takes at the pace so far."""

    goals: tuple[Goal, ...]
    score: int | None = None
    note: str = ""
    ended: int = 0
    eta: float | None = None
    call: str | None = None


class LoopStalled(_Event, frozen=True, tag="loop.stalled"):
    """The turn makes no progress after model call `step`: the pattern `kind` occurred `count` times. action: show the
    `hint` to the model beside the newest result, do the same with more `effort` or another `model`, or `end` the
    turn."""

    turn: int
    step: int
    kind: StallKind
    count: int
    action: Literal["hint", "effort", "model", "end"]
    hint: str = ""


class PolicyDecided(_Event, frozen=True, tag="policy.decided"):
    """A decision of a hook, a guardrail or the classifier. by: its kind and name, as in `hook:lint`. on: a hook's
    moment (session_start, turn_start, pre_model, post_model, pre_tool, post_tool, turn_end, session_end), a guardrail's
    side (input, output), or `call` for the classifier. arguments: the call's new arguments, from a pre_tool hook that
    modifies. The text of a denied input is withheld from the model. usage: the cost of asking a model for the
    decision."""

    by: str
    on: str
    decision: Literal["allow", "ask", "deny", "modify", "passthrough"]
    reason: str = ""
    call: str | None = None
    arguments: str | None = None
    usage: Usage | None = None


class TimerSet(_Event, frozen=True, tag="timer.set"):
    """A durable timer was set or moved. due: wall time, seconds."""

    timer: str
    due: float


class TimerFired(_Event, frozen=True, tag="timer.fired"):
    """A durable timer came due. input: the id of the inbox item that it made."""

    timer: str
    input: int


class TimerCleared(_Event, frozen=True, tag="timer.cleared"):
    """A durable timer was removed."""

    timer: str


class ContextTrimmed(_Event, frozen=True, tag="context.trimmed"):
    """The oldest `dropped` messages left the model's context (never the log). Token counts are estimates. Occurs in
    logs up to format 3; replaced by `context.compacted`."""

    dropped: int
    before: int
    after: int


class ContextElided(_Event, frozen=True, tag="context.elided"):
    """Tool outputs left the model's context (never the log). A stub in their place says where they are, if they are
    `readable` for the model. outputs: positions of their `tool.completed`. shown: how many leading characters of each
    stay. Token counts are estimates."""

    outputs: tuple[int, ...]
    before: int
    after: int
    readable: bool = True
    shown: int = 0


class CompactionStarted(_Event, frozen=True, tag="compaction.started"):
    """Intent: `model` is about to be asked for a summary of the oldest `messages`. attempt: from 1; a crash left the
    earlier attempts without an outcome in the log."""

    model: str
    messages: int
    before: int
    attempt: int = 1


class ContextCompacted(_Event, frozen=True, tag="context.compacted"):
    """Of the oldest `upto` messages, those at the places `keep` stay in the model's context and `dropped` left it
    (never the log). The pins and the `summary` replace them. by: a model wrote the summary, or a rule. With `upto` 0
    nothing changed. error: why the model's summary failed or was rejected. usage: what it cost nevertheless. Token
    counts are estimates."""

    before: int
    after: int
    upto: int = 0
    keep: tuple[int, ...] = ()
    dropped: int = 0
    summary: str = ""
    by: Literal["model", "plain"] | None = None
    usage: Usage | None = None
    seconds: float = 0.0
    error: ErrorData | None = None


class ContextPinned(_Event, frozen=True, tag="context.pinned"):
    """Text that every compaction keeps verbatim under `key`, pinned by a tool call or a person; None removes the
    pin."""

    key: str
    text: str | None
    by: str | None = None


class TurnCompleted(_Event, frozen=True, tag="turn.completed"):
    """reason: the limit or the error when the outcome is not an answer. seconds: working time, without waiting for
    people."""

    turn: int
    outcome: TurnOutcome
    reason: str | None = None
    steps: int = 0
    usage: Usage = Usage()
    seconds: float = 0.0


class WorkspaceSaved(_Event, frozen=True, tag="workspace.saved"):
    """The snapshot holds the session's private files as they are now. files, bytes: count and size of regular files.
    skipped: entries that cannot be saved: pipes, sockets, unreadable files. None and 0 when the files were not counted.

    point: an undo point, kept in the `home` where the session runs and nowhere else, or in the `store` that all nodes
    read.
    """

    snapshot: str
    files: int | None = None
    bytes: int | None = None
    skipped: int = 0
    point: Literal["home", "store"] | None = None


class WorkspaceRestored(_Event, frozen=True, tag="workspace.restored"):
    """The private files are again as in the snapshot, None means no files. call: the tool call whose effect was undone.
    error: why they were not restored, and will not be."""

    snapshot: str | None
    call: str | None = None
    error: str | None = None


class WorkspaceUnsaved(_Event, frozen=True, tag="workspace.unsaved"):
    """The private files differ from the last snapshot and could not be saved. They exist on one machine only, until the
    next `workspace.saved`. lost: the session continued on another node, from the last snapshot."""

    reason: str
    lost: bool = False


class SandboxChosen(_Event, frozen=True, tag="sandbox.chosen"):
    """The sandbox of the session's commands since it woke, logged with the first command. why: why it is weaker than
    the agent prefers, and what would help."""

    level: int
    backend: str
    why: str | None = None


class SandboxLimit(_Event, frozen=True, tag="sandbox.limit"):
    """A limit was hit: of a command (`wall_seconds`, `cpu_seconds`, `file_bytes`), of the whole sandbox
    (`memory_bytes`, `pids`, `network`), of the workspace (`workspace_bytes`, `workspace_files`) or of the machine's
    disk (`free_bytes`). killed: the limit killed the command."""

    limit: str
    killed: bool = False


class SandboxEnded(_Event, frozen=True, tag="sandbox.ended"):
    """The session's sandbox ended, with `background` programs that ran between commands. The next command gets a new
    sandbox."""

    reason: str
    background: int = 0


class SessionTainted(_Event, frozen=True, tag="session.tainted"):
    """The tool `by` is about to show untrusted content to the model. From now on the policy is stricter with calls that
    have outside effects, until a person sends `trust`."""

    by: str


class MemoryChanged(_Event, frozen=True, tag="memory.changed"):
    """In the same commit, `facts` were added and the facts with the ids `ended` ended. merge: one fact replaced
    several. propose: the facts wait for a person. revert: the changes that the log made to facts after event `since`
    were undone. call: the tool call that made the change. Facts of the space `turn:N` exist in the session's state
    only."""

    op: Literal["add", "update", "remove", "merge", "propose", "revert"]
    facts: tuple[NewFact, ...] = ()
    ended: tuple[str, ...] = ()
    call: str | None = None
    since: int | None = None


class MemoryRecalled(_Event, frozen=True, tag="memory.recalled"):
    """Facts that fit the input were added for the model at the start of the turn. how: found by words and meaning, or
    by words only; then `why`."""

    turn: int
    facts: tuple[RecalledFact, ...] = ()
    how: Literal["hybrid", "words"] = "hybrid"
    why: str | None = None
    seconds: float = 0.0


class EnvironmentNoted(_Event, frozen=True, tag="environment.noted"):
    """The time and the names of files, added at the start of a turn beside the message that began it. The text never
    changes, so a repeated step sees the same context."""

    turn: int
    text: str


class ConsolidationStarted(_Event, frozen=True, tag="consolidation.started"):
    """Intent: a model is about to be asked which facts of the turns up to and including `upto` are worth keeping."""

    upto: int
    model: str
    attempt: int = 1


class MemoryConsolidated(_Event, frozen=True, tag="memory.consolidated"):
    """A model was asked which facts of the turns up to and including `upto` are worth keeping; `memory.changed` in the
    same commit has the result. usage: the cost of asking. error: why there is no result."""

    upto: int
    facts: int = 0
    model: str | None = None
    usage: Usage = Usage()
    seconds: float = 0.0
    error: str | None = None


class CheckpointMade(_Event, frozen=True, tag="checkpoint.made"):
    """This position of the log is a checkpoint: of the conversation, the memory, and the private files as the snapshot
    `files`, kept in the `home` or in the `store` that all nodes read. `files` empty means no files; None means not
    kept, and `why_no_files` says why. input: the request for it. dropped: positions of the checkpoints that it
    removes."""

    cause: CheckpointCause
    label: str | None = None
    files: str | None = None
    files_in: Literal["home", "store"] | None = None
    why_no_files: str | None = None
    input: int | None = None
    dropped: tuple[int, ...] = ()


class CheckpointDropped(_Event, frozen=True, tag="checkpoint.dropped"):
    """The checkpoint at the position `checkpoint` was dropped. points: file snapshots that no rollback can reach any
    more; they are removed."""

    checkpoint: int
    input: int | None = None
    points: tuple[str, ...] = ()


class SessionRolledBack(_Event, frozen=True, tag="session.rolled_back"):
    """The session is as it was after event `to`: its conversation and, in the same commit, its changes of the memory.
    After that its private files are restored to the snapshot `files` (`workspace.restored`); empty means no files, None
    means they stay. why_no_files: why they stay, or are older than the conversation. Counters, usage and timers are not
    rolled back."""

    to: int
    input: int
    label: str | None = None
    files: str | None = None
    why_no_files: str | None = None


class SessionForked(_Event, frozen=True, tag="session.forked"):
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


class ChildStarted(_Event, frozen=True, tag="child.started"):
    """The tool call `call` delegated a task to the session `child` of an agent. The call waits for its end unless it
    runs in the `background`. due: its deadline."""

    child: str
    call: str
    agent: str
    background: bool = False
    due: float | None = None


class ChildHeld(_Event, frozen=True, tag="child.held"):
    """The limit of concurrent children is reached: the tool call waits until one of them ends."""

    call: str


class ChildWaits(_Event, frozen=True, tag="child.waits"):
    """A call in `session`, which is the child or one of its descendants, waits for a person."""

    child: str
    session: str
    call: str
    tool: str
    reason: str = ""


class ChildEnded(_Event, frozen=True, tag="child.ended"):
    """The delegated task ended. usage: what the child used; it is in no sum of this session."""

    child: str
    outcome: ChildOutcome
    reason: str | None = None
    usage: Usage = Usage()


class JobStarted(_Event, frozen=True, tag="job.started"):
    """A `command` runs in the background from `at` on, started by the tool call `call`; committed with the call's
    outcome. due: when it is stopped. outside: the source that makes its output untrusted."""

    job: str
    call: str
    command: str
    due: float
    outside: str | None = None


class JobEnded(_Event, frozen=True, tag="job.ended"):
    """The background command ended. code: its exit code; negative: the signal. told: a tool call reported the end to
    the agent in this commit. Otherwise this commit puts a message into the session's own inbox, unless a person stopped
    the command."""

    job: str
    outcome: JobOutcome
    code: int | None = None
    reason: str | None = None
    told: bool = False


class SessionMoved(_Event, frozen=True, tag="session.moved"):
    """From the next turn on the session uses this `version` of its agent; `spec` is the definition that it pins."""

    version: str
    spec: msgspec.Raw
    input: int
    source: str | None = None


class SessionImported(_Event, frozen=True, tag="session.imported"):
    """The log up to here was imported from a file in `format`, where it belonged to the session `source`. Running work
    of that session ended; its timers, files and costs were not imported."""

    source: str
    format: Literal["roost", "claude-code", "codex"] = "roost"


class ScheduleSet(_Event, frozen=True, tag="schedule.set"):
    """The schedule's definition from now on. next: when it comes due, before jitter. paused: by a person, or because it
    had nothing to do for a long time."""

    name: str
    spec: ScheduleSpec
    next: float | None
    paused: Literal["person", "idle"] | None = None
    input: int | None = None


class ScheduleFired(_Event, frozen=True, tag="schedule.fired"):
    """The schedule came due at `due`, or a person ran it (None). run: whether this firing begins a turn. missed:
    firings that get no turn of their own; of very many, only the first are counted."""

    name: str
    due: float | None
    next: float | None
    input: int
    missed: int = 0
    run: bool = True


class ScheduleCleared(_Event, frozen=True, tag="schedule.cleared"):
    """The schedule is removed. why: a person removed it, or it has no firing left."""

    name: str
    why: str
    input: int | None = None


class ContextCleared(_Event, frozen=True, tag="context.cleared"):
    """The turn that begins does not see the conversation. At its end the conversation returns, with this turn's
    messages added."""


class Emitted(_Event, frozen=True, tag="emitted"):
    """A program's own event, appended with `emit`."""

    name: str
    data: Any = None


Event: TypeAlias = (
    SessionCreated
    | StateChanged
    | ControlApplied
    | InputReceived
    | TurnStarted
    | ModelStarted
    | ModelCompleted
    | ModelNotice
    | ModelLost
    | ModelFailed
    | ToolStarted
    | ToolCompleted
    | ApprovalRequested
    | ApprovalResolved
    | IntentChosen
    | LoopStalled
    | PlanChanged
    | PolicyDecided
    | TimerSet
    | TimerFired
    | TimerCleared
    | ContextTrimmed
    | ContextElided
    | CompactionStarted
    | ContextCompacted
    | ContextPinned
    | TurnCompleted
    | WorkspaceSaved
    | WorkspaceRestored
    | WorkspaceUnsaved
    | SandboxChosen
    | SandboxLimit
    | SandboxEnded
    | SessionTainted
    | MemoryChanged
    | MemoryRecalled
    | EnvironmentNoted
    | ConsolidationStarted
    | MemoryConsolidated
    | CheckpointMade
    | CheckpointDropped
    | SessionRolledBack
    | SessionForked
    | ChildStarted
    | ChildHeld
    | ChildWaits
    | ChildEnded
    | JobStarted
    | JobEnded
    | SessionMoved
    | SessionImported
    | ScheduleSet
    | ScheduleFired
    | ScheduleCleared
    | ContextCleared
    | Emitted
)

EVENT_TYPES: tuple[type[Event], ...] = Event.__args__
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def event_type(event: Event | type[Event]) -> str:
    """Return the tag, for example `turn.completed`."""
    return str(event.__struct_config__.tag)


def encode_event(event: Event) -> bytes:
    return _encoder.encode(event)


def decode_event(body: bytes) -> Event:
    """Decode a stored event. Raises `UnknownEvent` for a kind that this version does not know or a body that is not an
    event."""
    try:
        return _decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise UnknownEvent(f"cannot read an event of this log: {error}. A newer Roost may have written it") from error
