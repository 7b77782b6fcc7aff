"""The closed union of events: everything that happens in a session is one of these.

An event is stored as JSON with a `type` tag. Fields may be added with a default. A change that is not additive gets a
new class with the tag `name.2` beside the old one, which the fold goes on to understand. `tests/golden` pins the bytes.
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
"""Grows with every kind of event, or field that the fold needs, that an older version could not read. A node runs only
sessions whose log was written up to its own format, so versions may be mixed while a cluster is upgraded."""

SessionState: TypeAlias = Literal["created", "running", "paused", "stopped", "error"]
Phase: TypeAlias = Literal["idle", "working", "waiting"]
InputMode: TypeAlias = Literal["follow_up", "steer"]
ControlAction: TypeAlias = Literal["start", "pause", "resume", "cancel", "stop", "trust", "compact"]
Decision: TypeAlias = Literal["approve", "reject", "modify"]
CheckpointCause: TypeAlias = Literal["manual", "interval", "pause", "stop", "risky", "rollback", "fork"]
TurnOutcome: TypeAlias = Literal["answered", "cancelled", "limit", "failed"]
ChildOutcome: TypeAlias = Literal[TurnOutcome, "timeout", "stopped", "error", "deleted"]
"""How a task ended: as its turn did, or because its time was up, or its session stopped, failed or was deleted."""
JobOutcome: TypeAlias = Literal["exited", "stopped", "timeout", "lost"]
"""How a command in the background ended: by itself, ended by somebody, because its time was up, or nobody knows how."""


StallKind: TypeAlias = Literal["repeat", "cycle", "no_progress", "errors", "poor"]
"""The same step again, a few in turn, nothing new, nothing that went well, and by the model's own word badly."""


class _Event(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", gc=False):
    at: float
    """Wall clock, seconds since 1970. Informative: order is the sequence number's business."""


class Ancestor(msgspec.Struct, frozen=True, omit_defaults=True):
    """A session from which another one comes. `money`: what it and all that come from it may spend together, in
    nano-dollars; None is no limit."""

    session: str
    money: int | None = None


class Family(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of a session that another one has made for a task. `above`: those it comes from, its parent last. `levels` of
    children may be below it, as far as those above allow. `background`: its parent does not wait for it."""

    above: tuple[Ancestor, ...]
    levels: int
    background: bool = False

    @property
    def parent(self) -> str:
        return self.above[-1].session


class Goal(msgspec.Struct, frozen=True):
    """A part of a long task."""

    text: str
    state: Literal["todo", "doing", "done", "dropped"] = "todo"


class SessionCreated(_Event, frozen=True, tag="session.created"):
    """`spec` is the agent's definition as data: the session pins it. `tainted`: by what all of it is from outside."""

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
    state: SessionState
    reason: str | None = None


class ControlApplied(_Event, frozen=True, tag="control.applied"):
    action: ControlAction
    input: int


class InputReceived(_Event, frozen=True, tag="input.received"):
    """An inbox item became part of the conversation."""

    input: int
    parts: tuple[UserPart, ...]
    mode: InputMode = "follow_up"
    source: str | None = None


class TurnStarted(_Event, frozen=True, tag="turn.started"):
    turn: int
    input: int


class ModelStarted(_Event, frozen=True, tag="model.started"):
    """Intent: the request is about to be sent. `step` counts the model calls of the session, `attempt` from 1.
    `context`: the tokens of all that is sent, by our estimate."""

    step: int
    model: str
    attempt: int = 1
    context: int = 0


class ModelCompleted(_Event, frozen=True, tag="model.completed"):
    step: int
    parts: tuple[AssistantPart, ...]
    stop: StopReason = "end"
    usage: Usage = Usage()
    seconds: float = 0.0
    model: str | None = None
    """The one that answered, where it is not the one of `model.started`."""


class ModelNotice(_Event, frozen=True, tag="model.notice"):
    """What happened on the way of a model call: `kind` is route, retry, fallback, breaker, limit, budget, recovery,
    repair or restart, `data` as `roost.models.request.Notice` says; or early: so many calls were `dropped` that had
    begun while the model spoke and are not in its answer."""

    step: int
    kind: str
    data: dict[str, Any] = {}


class ModelLost(_Event, frozen=True, tag="model.lost"):
    """A crash cut off attempt `attempt` of a step. `usage` is an estimate of what its calls may have cost at most."""

    step: int
    attempt: int
    usage: Usage = Usage()


class ModelFailed(_Event, frozen=True, tag="model.failed"):
    """The step produced nothing that counts, whatever was tried; `error.retryable` says whether trying again later may
    help. `usage` is what its calls have cost all the same; None when they cannot have cost anything."""

    step: int
    error: ErrorData
    seconds: float = 0.0
    usage: Usage | None = None


class ToolStarted(_Event, frozen=True, tag="tool.started"):
    """Intent: the tool is about to run. `key` is the idempotency key, the same for every attempt. `why` it may run:
    the layer of the policy that decided, and by what. `undo`: the snapshot that the private files go back to unless the
    call ends well; empty is no file, None: they stay as they are. `early`: it only reads, and began before the answer
    was whole."""

    call: str
    name: str
    replay: Replay
    key: str
    attempt: int = 1
    why: str | None = None
    undo: str | None = None
    early: bool = False


class ToolCompleted(_Event, frozen=True, tag="tool.completed"):
    call: str
    outcome: ToolOutcome
    parts: tuple[ResultPart, ...] = ()
    seconds: float = 0.0
    why: str | None = None
    """Of a call that was denied: who decided, and by what."""
    seen: dict[str, str | None] = {}
    """Files that the model knows from now on: path in the workspace -> digest; None: it knows that one no more."""
    code: int | None = None
    """The exit code of the command that the call ran, if it ran one to its end; negative: the signal that ended it."""


GrantScope: TypeAlias = Literal["session", "agent", "user"]


class Danger(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part of a command that a person should see before they answer. text: the part, as the analyser shows it.
    why: what it would do. start, end: where it stands in the command, in characters; None if it stands there in
    other words (a variable, a quoted inner command)."""

    text: str
    why: str
    start: int | None = None
    end: int | None = None


class ApprovalRequested(_Event, frozen=True, tag="approval.requested"):
    """`cause`: the policy gate asks before a first run, or recovery asks before a run again. `why`: the layer of the
    policy that asks, and by what. `due`: when it counts as rejected unless somebody answers. `dangers`: the parts of
    a command to show first. `prefixes`: beginnings of the command (`npm test`) that an answer may allow from now on,
    all of which are needed to allow this command."""

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
    """`arguments`: with the decision `modify`, the JSON text of those with which the call runs instead. `always`:
    command prefixes that are allowed from now on, for as long and for whom `scope` says."""

    call: str
    decision: Decision
    note: str | None = None
    source: str | None = None
    arguments: str | None = None
    always: tuple[str, ...] = ()
    scope: GrantScope | None = None


class IntentChosen(_Event, frozen=True, tag="intent.chosen"):
    """What the turn is about, by a `word` that was said, or because nothing else fits. `tools`: those that there are in
    it; None is all. With `confirm` it goes on when a person has said yes, to the call `turn:N`. `calls`: what its model
    calls are for."""

    turn: int
    intent: str
    tools: tuple[str, ...] | None = None
    word: str | None = None
    confirm: bool = False
    calls: str | None = None


class PlanChanged(_Event, frozen=True, tag="plan.changed"):
    """The sub-goals of a long task, of which `ended` are done or dropped, by the tool call `call`. `score`: how well it
    goes by the model's own word, 1 to 5. `eta`: seconds that the rest takes if it goes on as it went."""

    goals: tuple[Goal, ...]
    score: int | None = None
    note: str = ""
    ended: int = 0
    eta: float | None = None
    call: str | None = None


class LoopStalled(_Event, frozen=True, tag="loop.stalled"):
    """After model call `step` the turn gets nowhere: `count` times what `kind` says. `action` is what is done: `hint`,
    which the model reads beside the newest result, as with more `effort` or another `model`; or the turn's `end`."""

    turn: int
    step: int
    kind: StallKind
    count: int
    action: Literal["hint", "effort", "model", "end"]
    hint: str = ""


class PolicyDecided(_Event, frozen=True, tag="policy.decided"):
    """What a hook, a guardrail or the classifier said. `by` is its kind and name, as in `hook:lint`. `on` is a hook's
    moment (session_start, turn_start, pre_model, post_model, pre_tool, post_tool, turn_end, session_end), a guardrail's
    side (input, output), or `call` for the classifier. `arguments`: the call's new ones, of a hook before a tool that
    modifies. What a denied input said is withheld from the model. `usage`: what asking a model for it has cost."""

    by: str
    on: str
    decision: Literal["allow", "ask", "deny", "modify", "passthrough"]
    reason: str = ""
    call: str | None = None
    arguments: str | None = None
    usage: Usage | None = None


class TimerSet(_Event, frozen=True, tag="timer.set"):
    timer: str
    due: float


class TimerFired(_Event, frozen=True, tag="timer.fired"):
    timer: str
    input: int


class TimerCleared(_Event, frozen=True, tag="timer.cleared"):
    timer: str


class ContextTrimmed(_Event, frozen=True, tag="context.trimmed"):
    """The oldest `dropped` messages left the model's context (never the log). Token counts are estimates. In logs up to
    format 3; since then `context.compacted`."""

    dropped: int
    before: int
    after: int


class ContextElided(_Event, frozen=True, tag="context.elided"):
    """Outputs of tools left the model's context (never the log), with a line in their place that says where they are if
    they are `readable` for the model. `outputs` are the positions of their `tool.completed`. The first `shown`
    characters of each stay. Token counts are estimates."""

    outputs: tuple[int, ...]
    before: int
    after: int
    readable: bool = True
    shown: int = 0


class CompactionStarted(_Event, frozen=True, tag="compaction.started"):
    """Intent: `model` is about to be asked for a summary of the oldest `messages`. `attempt` counts, from 1, those that
    have no outcome in the log because a crash came between."""

    model: str
    messages: int
    before: int
    attempt: int = 1


class ContextCompacted(_Event, frozen=True, tag="context.compacted"):
    """Of the oldest `upto` messages those at the places `keep` stay in the model's context, and `dropped` left it
    (never the log); in their place stands what is pinned and the `summary`, written `by` a model or by rule. Nothing
    changed where `upto` is 0. `error`: why the model's summary was not taken, or not made. `usage`: what it cost all
    the same. Token counts are estimates."""

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
    """What every compaction keeps word for word under `key`, by a call of a tool or a person; None: nothing."""

    key: str
    text: str | None
    by: str | None = None


class TurnCompleted(_Event, frozen=True, tag="turn.completed"):
    """`reason` names the limit or the error when the outcome is not an answer. `seconds`: for which it worked, without
    what it waited for people."""

    turn: int
    outcome: TurnOutcome
    reason: str | None = None
    steps: int = 0
    usage: Usage = Usage()
    seconds: float = 0.0


class WorkspaceSaved(_Event, frozen=True, tag="workspace.saved"):
    """The session's private files as they are now are the snapshot. `files` and `bytes` count the regular ones,
    `skipped` what cannot be kept: pipes, sockets, what cannot be read. None and 0 where nobody looked at each.

    `point`: it is kept to go back to, in the `home` that the session runs at and nowhere else, or in the `store` that
    all nodes read."""

    snapshot: str
    files: int | None = None
    bytes: int | None = None
    skipped: int = 0
    point: Literal["home", "store"] | None = None


class WorkspaceRestored(_Event, frozen=True, tag="workspace.restored"):
    """The private files are again what they were in the snapshot, None for no file, before the tool call `call`.
    `error`: why they are not, and will not be."""

    snapshot: str | None
    call: str | None = None
    error: str | None = None


class WorkspaceUnsaved(_Event, frozen=True, tag="workspace.unsaved"):
    """The private files differ from the last snapshot and could not be saved: they are on one machine alone, until the
    next `workspace.saved`. `lost`: the session went on elsewhere, from the last snapshot."""

    reason: str
    lost: bool = False


class SandboxChosen(_Event, frozen=True, tag="sandbox.chosen"):
    """What the session's commands run in since it woke, said with the first of them. `why` it is less than the agent
    prefers, and what would help."""

    level: int
    backend: str
    why: str | None = None


class SandboxLimit(_Event, frozen=True, tag="sandbox.limit"):
    """A limit was hit: of a command (`wall_seconds`, `cpu_seconds`, `file_bytes`), of the whole sandbox
    (`memory_bytes`, `pids`, `network`), of the workspace (`workspace_bytes`, `workspace_files`) or of the machine's
    disk (`free_bytes`). `killed`: the command did not survive it."""

    limit: str
    killed: bool = False


class SandboxEnded(_Event, frozen=True, tag="sandbox.ended"):
    """The session's sandbox is gone, with `background` programs that ran on between commands. The next command gets a
    new one."""

    reason: str
    background: int = 0


class SessionTainted(_Event, frozen=True, tag="session.tainted"):
    """The model is about to see what comes from outside, by the tool `by`: from now on the policy is wary of calls with
    an effect outside, until a person says `trust`."""

    by: str


class MemoryChanged(_Event, frozen=True, tag="memory.changed"):
    """In the same commit, `facts` came and those with the ids `ended` went. `merge`: one took the place of several.
    `propose`: they wait for a person. `revert`: what the log had done to facts after event `since` was undone. `call`:
    the tool call whose effect it is. Facts of the space `turn:N` are in the session's state alone."""

    op: Literal["add", "update", "remove", "merge", "propose", "revert"]
    facts: tuple[NewFact, ...] = ()
    ended: tuple[str, ...] = ()
    call: str | None = None
    since: int | None = None


class MemoryRecalled(_Event, frozen=True, tag="memory.recalled"):
    """At its start, what fits what was said was put beside it for the model. `how` it was found: by words and meaning,
    or by words alone and `why`."""

    turn: int
    facts: tuple[RecalledFact, ...] = ()
    how: Literal["hybrid", "words"] = "hybrid"
    why: str | None = None
    seconds: float = 0.0


class EnvironmentNoted(_Event, frozen=True, tag="environment.noted"):
    """At the start of a turn: the time and the names of files, put beside the message that began it. They stay there
    as they were, so that a step that is made again sees what it saw before."""

    turn: int
    text: str


class ConsolidationStarted(_Event, frozen=True, tag="consolidation.started"):
    """Intent: a model is about to be asked what is worth keeping of the turns up to and with `upto`."""

    upto: int
    model: str
    attempt: int = 1


class MemoryConsolidated(_Event, frozen=True, tag="memory.consolidated"):
    """A model was asked what is worth keeping of the turns up to and with `upto`; the `memory.changed` beside it says
    what came of it. `usage`: what asking has cost. `error`: why nothing came of it."""

    upto: int
    facts: int = 0
    model: str | None = None
    usage: Usage = Usage()
    seconds: float = 0.0
    error: str | None = None


class CheckpointMade(_Event, frozen=True, tag="checkpoint.made"):
    """This position of the log is kept to go back to: the conversation, the memory, and the private files as the
    snapshot `files`, kept in the `home` or in the `store` that all nodes read; empty is no file, None: they are not
    kept, and `why_no_files`. `input` asked for it. The checkpoints at the positions `dropped` are kept no more."""

    cause: CheckpointCause
    label: str | None = None
    files: str | None = None
    files_in: Literal["home", "store"] | None = None
    why_no_files: str | None = None
    input: int | None = None
    dropped: tuple[int, ...] = ()


class CheckpointDropped(_Event, frozen=True, tag="checkpoint.dropped"):
    """The checkpoint at the position `checkpoint` is kept no more. `points`: snapshots of the private files that
    nothing can go back to any more, so that they are removed."""

    checkpoint: int
    input: int | None = None
    points: tuple[str, ...] = ()


class SessionRolledBack(_Event, frozen=True, tag="session.rolled_back"):
    """The session is as it was after event `to`: its conversation and, in the same commit, what it did to the memory.
    Its private files go back to the snapshot `files` next (`workspace.restored`); empty is no file, None: they stay.
    `why_no_files`: why they stay, or are older than the conversation. Counters, usage and timers go on."""

    to: int
    input: int
    label: str | None = None
    files: str | None = None
    why_no_files: str | None = None


class SessionForked(_Event, frozen=True, tag="session.forked"):
    """The log up to here is that of `source` up to and with event `position`. `files`: what the private files begin as,
    a snapshot of the source's kept in its `home`, or in the `store`; empty is no file, None: there are none, and
    `why_no_files`. Its usage begins at nothing, and it has no timers. Of the checkpoints up to here, those at the
    positions `dropped` are kept no more."""

    source: str
    position: int
    title: str | None = None
    labels: dict[str, str] = {}
    files: str | None = None
    files_in: Literal["home", "store"] | None = None
    why_no_files: str | None = None
    dropped: tuple[int, ...] = ()


class ChildStarted(_Event, frozen=True, tag="child.started"):
    """The session `child` of an agent has a task, given by the tool call `call`, which waits for its end unless it runs
    in the `background`. `due`: when it is over."""

    child: str
    call: str
    agent: str
    background: bool = False
    due: float | None = None


class ChildHeld(_Event, frozen=True, tag="child.held"):
    """As many children run as may at once: the tool call waits for one of them to end."""

    call: str


class ChildWaits(_Event, frozen=True, tag="child.waits"):
    """A call in `session`, which is the child or comes from it, waits for a person."""

    child: str
    session: str
    call: str
    tool: str
    reason: str = ""


class ChildEnded(_Event, frozen=True, tag="child.ended"):
    """Its task is over. `usage` is what the child has used; it is in no sum of this session."""

    child: str
    outcome: ChildOutcome
    reason: str | None = None
    usage: Usage = Usage()


class JobStarted(_Event, frozen=True, tag="job.started"):
    """A `command` runs in the background from `at` on, begun by the tool call `call`; in the commit of its outcome. It
    is ended at `due`. `outside`: by what its output is from outside."""

    job: str
    call: str
    command: str
    due: float
    outside: str | None = None


class JobEnded(_Event, frozen=True, tag="job.ended"):
    """It does not run any more. `code`: its exit code, or the signal, negative. `told`: a tool call has told the agent,
    in this commit. Else a message is put into the session's own inbox in it, unless a person has ended the job."""

    job: str
    outcome: JobOutcome
    code: int | None = None
    reason: str | None = None
    told: bool = False


class SessionMoved(_Event, frozen=True, tag="session.moved"):
    """From the next turn on the session is of this `version` of its agent; `spec` is the definition that it pins."""

    version: str
    spec: msgspec.Raw
    input: int
    source: str | None = None


class SessionImported(_Event, frozen=True, tag="session.imported"):
    """The log up to here came from elsewhere, out of a file in `format`, where it was that of the session `source`.
    What was under way there is over; its timers, its files and what it has cost stayed there."""

    source: str
    format: Literal["roost", "claude-code", "codex"] = "roost"


class ScheduleSet(_Event, frozen=True, tag="schedule.set"):
    """What the schedule is from now on, and when it comes due `next`, before it is put off by its jitter. `paused` by
    a person, or because it had nothing to do for long."""

    name: str
    spec: ScheduleSpec
    next: float | None
    paused: Literal["person", "idle"] | None = None
    input: int | None = None


class ScheduleFired(_Event, frozen=True, tag="schedule.fired"):
    """It came due at `due`, or a person had it run (None). A turn begins with it if it is `run`. `missed` have come due
    and get no turn of their own; of very many only the first are counted."""

    name: str
    due: float | None
    next: float | None
    input: int
    missed: int = 0
    run: bool = True


class ScheduleCleared(_Event, frozen=True, tag="schedule.cleared"):
    """It is no more: `why` says whether somebody took it away, or nothing of it is left to come."""

    name: str
    why: str
    input: int | None = None


class ContextCleared(_Event, frozen=True, tag="context.cleared"):
    """The turn that begins does not see the conversation. At its end that is there again, with what was said in it."""


class Emitted(_Event, frozen=True, tag="emitted"):
    """A program's own event, put into the log with `emit`."""

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
    """The tag, for example `turn.completed`."""
    return str(event.__struct_config__.tag)


def encode_event(event: Event) -> bytes:
    return _encoder.encode(event)


def decode_event(body: bytes) -> Event:
    """Raises `UnknownEvent` for a kind that this version does not know or a body that is not an event."""
    try:
        return _decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise UnknownEvent(f"cannot read an event of this log: {error}. A newer Roost may have written it") from error
