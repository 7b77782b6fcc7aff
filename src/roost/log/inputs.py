"""The closed union of inputs: everything that can be put into a session's inbox."""

from __future__ import annotations

import hashlib
from typing import Any, Literal, TypeAlias, assert_never

import msgspec

from roost.log.content import Usage, UserPart
from roost.log.events import (
    CheckpointCause,
    ChildOutcome,
    ControlAction,
    Decision,
    GrantScope,
    InputMode,
    Phase,
    SessionState,
)
from roost.log.schedule_events import ScheduleSpec


class _Input(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type"):
    pass


class MessageInput(_Input, frozen=True, tag="message"):
    """A message to the agent. mode: `steer` is delivered inside the running turn, `follow_up` when the turn would
    stop."""

    parts: tuple[UserPart, ...]
    mode: InputMode = "follow_up"
    source: str | None = None
    tainted: str | None = None
    """The untrusted source that the sender had seen, if any."""


class ControlInput(_Input, frozen=True, tag="control"):
    """scope `task`, of a cancel: cancel the delegated task of the session, with all its children and background
    commands. scope `unused`, of a stop: stop only if the session waits for nothing; the stop does not extend to its
    children."""

    action: ControlAction
    scope: Literal["task", "unused"] | None = None


class ApprovalInput(_Input, frozen=True, tag="approval"):
    """arguments: for `modify`, the JSON text of the arguments that the call runs with instead. always, scope: as in
    `ApprovalResolved`. asked: the log position of the answered request; None answers any open request for that call."""

    call: str
    decision: Decision
    note: str | None = None
    source: str | None = None
    arguments: str | None = None
    always: tuple[str, ...] = ()
    scope: GrantScope | None = None
    asked: int | None = None


class SetTimerInput(_Input, frozen=True, tag="timer.set"):
    """Set, move or (with `due` None) clear a durable timer. When it comes due, the agent gets `parts` as a message."""

    timer: str
    due: float | None
    parts: tuple[UserPart, ...] = ()


class TimerInput(_Input, frozen=True, tag="timer"):
    """A durable timer that came due."""

    timer: str
    parts: tuple[UserPart, ...]


class EmitInput(_Input, frozen=True, tag="emit"):
    """A program's own event, which enters the log as `Emitted`."""

    name: str
    data: Any = None


class ChildInput(_Input, frozen=True, tag="child"):
    """The end of a delegated task, for the session that delegated it. parts: the child's last answer. tainted: the
    untrusted source that the child had seen, if any."""

    child: str
    outcome: ChildOutcome
    parts: tuple[UserPart, ...] = ()
    reason: str | None = None
    usage: Usage = Usage()
    tainted: str | None = None


class ChildWaitsInput(_Input, frozen=True, tag="child.waits"):
    """As `ChildWaits`."""

    child: str
    session: str
    call: str
    tool: str
    reason: str = ""


class MoveInput(_Input, frozen=True, tag="move"):
    """Change to this version of the session's agent as soon as no turn is open. spec: the definition. needs: tags that
    a node must offer to run it."""

    version: str
    spec: msgspec.Raw
    needs: tuple[str, ...] = ()
    source: str | None = None


class PinInput(_Input, frozen=True, tag="pin"):
    """Keep `text` verbatim under `key` through every compaction; None removes the pin. by: the person."""

    key: str
    text: str | None
    by: str


class CheckpointInput(_Input, frozen=True, tag="checkpoint"):
    """Make a checkpoint as soon as no call is running."""

    label: str | None = None
    cause: CheckpointCause = "manual"


class DropCheckpointInput(_Input, frozen=True, tag="checkpoint.drop"):
    """Drop the checkpoint at the position `checkpoint`."""

    checkpoint: int


class RollbackInput(_Input, frozen=True, tag="rollback"):
    """Return the session to its state after event `to`. asked: the words of the request, if it named no position.
    resume: the session runs afterwards, even if it was paused, stopped or failed."""

    to: int
    asked: str | None = None
    resume: bool = False


class ScheduleInput(_Input, frozen=True, tag="schedule"):
    """An order for a schedule. `set` creates or changes it with `spec`."""

    name: str
    order: Literal["set", "pause", "resume", "delete"]
    spec: ScheduleSpec | None = None


class DueInput(_Input, frozen=True, tag="schedule.due"):
    """A schedule came due at `due`; None: a person runs it now."""

    name: str
    due: float | None = None


class ConsolidateInput(_Input, frozen=True, tag="consolidate"):
    """The consolidation timer set for `due` came due: ask a model which facts of the last turns are worth keeping."""

    due: float


Input: TypeAlias = (
    MessageInput
    | ControlInput
    | ApprovalInput
    | SetTimerInput
    | TimerInput
    | EmitInput
    | PinInput
    | MoveInput
    | ChildInput
    | ChildWaitsInput
    | CheckpointInput
    | DropCheckpointInput
    | RollbackInput
    | ScheduleInput
    | DueInput
    | ConsolidateInput
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Input] = msgspec.json.Decoder(Input)


def encode_input(item: Input) -> bytes:
    return _encoder.encode(item)


def beginning_of(type: str) -> bytes:
    """Return the prefix that every encoded input of this type has, and no other input."""
    return b'{"type":%b' % _encoder.encode(type)


def decode_input(body: bytes) -> Input:
    return _decoder.decode(body)


def input_digest(item: Input) -> bytes:
    """Return 8 bytes that tell a repetition from a different input under the same idempotency key."""
    return hashlib.blake2b(encode_input(item), digest_size=8).digest()


def urgency(item: Input) -> int:
    """Return 0 for conversation, 1 for an answer that a waiting turn needs, 2 for an input that a session takes in any
    state."""
    match item:
        case MessageInput() | TimerInput() | DueInput() | MoveInput():
            return 0
        case ApprovalInput() | ChildInput():
            return 1
        case ChildWaitsInput() | ControlInput() | SetTimerInput() | EmitInput() | PinInput() | ScheduleInput():
            return 2
        case CheckpointInput() | DropCheckpointInput() | RollbackInput() | ConsolidateInput():
            return 2
        case _:
            assert_never(item)


def admits(state: SessionState, phase: Phase) -> int:
    """Return the least urgency that a session in this state takes; other inputs wait in its inbox."""
    if state not in ("created", "running"):
        return 2
    return 1 if phase == "waiting" else 0
