"""The state of a session as data, folded from its events by `roost.agent.fold`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec

from roost.agent.state_parts import (
    Layout,
    OpenJob,
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
from roost.log.schedule_events import TurnLimits
from roost.log.session_info import Phase, SessionState
from roost.models.tokens import estimate

STATE_VERSION = 8
"""Version of the snapshot's shape. A snapshot of another version is ignored: the log is folded again."""

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
    """Deferred until another session ends that this one waits for."""
    asked: int = 0
    """Position in the log of its newest `approval.requested`."""
    dangers: tuple[ev.Danger, ...] = ()
    prefixes: tuple[str, ...] = ()
    """As in its newest `approval.requested`."""
    offers: tuple[ev.RuleOffer, ...] = ()
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


class Turn(msgspec.Struct):
    """The open turn. seconds: time that its finished steps took. gate: the question that a person must approve before
    the turn goes on."""

    number: int
    input: int
    started_at: float
    steps: int = 0
    seconds: float = 0.0
    usage: Usage = Usage(cost=0)
    gate: Call | None = None
    parts: dict[type[TurnPart], Any] = msgspec.field(default_factory=new_turn_parts)

    def part(self, kind: type[TP]) -> TP:
        """Return a feature's part of the turn."""
        return self.parts[kind]

    @property
    def limits(self) -> list[TurnLimits]:
        """Limits of this turn, beside the agent's."""
        return [own for kind in turn_parts_with("limits") if (own := self.parts[kind].limits) is not None]

    @property
    def unattended(self) -> bool:
        """Whether no person waits for the turn."""
        return any(self.parts[kind].unattended for kind in turn_parts_with("unattended"))


class State(msgspec.Struct):
    """Everything that the events of a session add up to.

    entries: the model's context. steps: model calls begun. usage: sum over the session. Fields here are those that the
    log and the loop need; the rest stands in the parts of features."""

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
    """Standing rules that a person's answers made for the rest of the session."""
    timers: dict[str, float] = {}
    seq: int = 0
    """Position of the newest event."""
    scale: dict[str, float] = {}
    """By model: tokens that the provider counts for one that we estimate."""
    base: int = 0
    """Position of `session.forked` or `session.imported`: the log after it is this session's own; 0 = all of it."""
    family: ev.Family | None = None
    """Lineage, if another session made this one."""
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
    def waits(self) -> bool:
        """Whether the session waits for another session."""
        return any(self.parts[kind].waits for kind in state_parts_with("waits"))

    @property
    def calls_model(self) -> bool:
        """Whether a model call outside a turn has no outcome in the log."""
        return any(self.parts[kind].calls_model for kind in state_parts_with("calls_model"))

    @property
    def background(self) -> dict[str, OpenJob]:
        """Commands of the session that run in the background, by key."""
        return {key: job for kind in state_parts_with("background") for key, job in self.parts[kind].background.items()}

    @property
    def pinned(self) -> dict[str, str]:
        """Texts that stay in the context word for word, by key."""
        return {key: text for kind in state_parts_with("pinned") for key, text in self.parts[kind].pinned.items()}

    @property
    def snapshots(self) -> list[str]:
        """Snapshots of files that the session needs."""
        of_parts = [one for kind in state_parts_with("snapshots") for one in self.parts[kind].snapshots]
        return [*(call.undo for call in self.calls if call.undo), *of_parts]

    @property
    def shared_snapshots(self) -> list[str]:
        """Snapshots in the shared object store that the session may be restored to."""
        undo = [call.undo for call in self.calls if call.undo]
        kinds = state_parts_with("shared_snapshots")
        return [one for kind in kinds for one in self.parts[kind].shared_snapshots(undo) if one]

    @property
    def files_unsaved(self) -> bool:
        """Whether the files differ from their last snapshot in the shared object store."""
        return any(self.parts[kind].files_unsaved for kind in state_parts_with("files_unsaved"))

    @property
    def files_to_restore(self) -> bool:
        """Whether the files must be put back before anything else."""
        return any(self.parts[kind].files_to_restore for kind in state_parts_with("files_to_restore"))

    @property
    def money_limited(self) -> bool:
        """Whether a turn may have had a money limit beside the agent's."""
        return any(self.parts[kind].money_limited for kind in state_parts_with("money_limited"))

    def holds(self, call: Call) -> bool:
        """Whether `call` is deferred until another session ends. Without one there is nothing to wait for."""
        return call.held and self.waits

    @property
    def phase(self) -> Phase:
        if self.turn is None:
            return "working" if self.busy else "idle"
        waiting = self.turn.gate is not None and self.turn.gate.status == "asking"
        for call in reversed(self.calls):  # the last one is mostly the last to end
            if call.status in ("asking", "awaiting") or self.holds(call):
                waiting = True
            elif call.status != "done":
                return "working"
        return "waiting" if waiting else "working"

    @property
    def all_done(self) -> bool:
        """Whether every call of the newest answer has an outcome."""
        for call in reversed(self.calls):  # noqa: SIM110 - the last one is mostly the last to end
            if call.status != "done":
                return False
        return True

    @property
    def asking(self) -> list[Call]:
        """Calls that wait for a person."""
        gate = () if self.turn is None or self.turn.gate is None else (self.turn.gate,)
        return [call for call in (*gate, *self.calls) if call.status == "asking"]

    @property
    def answered(self) -> bool:
        """Whether the model's answer is the newest message and asks for no tool, and no feature goes on with it."""
        if not self.entries or self.calls or not isinstance(self.entries[-1].message, AssistantMessage):
            return False
        turn = self.turn
        return turn is None or not any(turn.parts[kind].goes_on for kind in turn_parts_with("goes_on"))

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
"""Names of version 8 in the order of their bytes: fields of `State` and of parts. New parts are not among them."""
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
