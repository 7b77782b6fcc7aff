"""What may be put into a session's inbox: the closed union of inputs."""

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
    """Something said to the agent. `steer` is delivered inside the running turn, `follow_up` when it would stop."""

    parts: tuple[UserPart, ...]
    mode: InputMode = "follow_up"
    source: str | None = None
    tainted: str | None = None
    """Who says it had seen what comes from outside, by this."""


class ControlInput(_Input, frozen=True, tag="control"):
    """`task`, of a cancel: what the session has its task for is given up, and with it all that has come from it.
    `unused`, of a stop: only if the session waits for nothing, and nothing else stops with it."""

    action: ControlAction
    scope: Literal["task", "unused"] | None = None


class ApprovalInput(_Input, frozen=True, tag="approval"):
    """`arguments`: with the decision `modify`, the JSON text of those with which the call runs instead. `always` and
    `scope` as of `ApprovalResolved`. `asked`: the position in the log of the question that is answered; None answers
    whichever question of that call is open."""

    call: str
    decision: Decision
    note: str | None = None
    source: str | None = None
    arguments: str | None = None
    always: tuple[str, ...] = ()
    scope: GrantScope | None = None
    asked: int | None = None


class SetTimerInput(_Input, frozen=True, tag="timer.set"):
    """Set, move or (with `due` None) clear a durable timer. When it comes due, `parts` are said to the agent."""

    timer: str
    due: float | None
    parts: tuple[UserPart, ...] = ()


class TimerInput(_Input, frozen=True, tag="timer"):
    """A durable timer that came due."""

    timer: str
    parts: tuple[UserPart, ...]


class EmitInput(_Input, frozen=True, tag="emit"):
    name: str
    data: Any = None


class ChildInput(_Input, frozen=True, tag="child"):
    """The end of a task, for the session that gave it. `parts` is what the child said at last. `tainted`: by what the
    child has seen what comes from outside."""

    child: str
    outcome: ChildOutcome
    parts: tuple[UserPart, ...] = ()
    reason: str | None = None
    usage: Usage = Usage()
    tainted: str | None = None


class ChildWaitsInput(_Input, frozen=True, tag="child.waits"):
    """As of `ChildWaits`."""

    child: str
    session: str
    call: str
    tool: str
    reason: str = ""


class MoveInput(_Input, frozen=True, tag="move"):
    """Take on this version of the session's agent when no turn is open. `spec` is the definition, `needs` what a node
    must offer to run it."""

    version: str
    spec: msgspec.Raw
    needs: tuple[str, ...] = ()
    source: str | None = None


class PinInput(_Input, frozen=True, tag="pin"):
    """Keep `text` word for word under `key` whatever leaves the model's context; None: not any more. `by` a person."""

    key: str
    text: str | None
    by: str


class CheckpointInput(_Input, frozen=True, tag="checkpoint"):
    """Keep what the session is, as soon as no call is running."""

    label: str | None = None
    cause: CheckpointCause = "manual"


class DropCheckpointInput(_Input, frozen=True, tag="checkpoint.drop"):
    checkpoint: int


class RollbackInput(_Input, frozen=True, tag="rollback"):
    """Make the session what it was after event `to`. `asked`: by what words, where it was no position. `resume`: it
    runs then, also one that was paused, stopped or failed."""

    to: int
    asked: str | None = None
    resume: bool = False


class ScheduleInput(_Input, frozen=True, tag="schedule"):
    """`set` makes or changes the schedule, to `spec`."""

    name: str
    order: Literal["set", "pause", "resume", "delete"]
    spec: ScheduleSpec | None = None


class DueInput(_Input, frozen=True, tag="schedule.due"):
    """A schedule that came due at `due`; with None a person has it run now."""

    name: str
    due: float | None = None


class ConsolidateInput(_Input, frozen=True, tag="consolidate"):
    """The timer that was set to `due` came due: ask what is worth keeping of the last turns."""

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
    """What every encoded input of this type begins with, and no other."""
    return b'{"type":%b' % _encoder.encode(type)


def decode_input(body: bytes) -> Input:
    return _decoder.decode(body)


def input_digest(item: Input) -> bytes:
    """8 bytes by which a repetition is told from another input under the same idempotency key."""
    return hashlib.blake2b(encode_input(item), digest_size=8).digest()


def urgency(item: Input) -> int:
    """0: conversation; 1: answers that a waiting turn needs; 2: what any session takes, whatever its state."""
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
    """The least urgency that a session in this state takes in; the rest waits in its inbox."""
    if state not in ("created", "running"):
        return 2
    return 1 if phase == "waiting" else 0
