"""Inputs: everything that can be put into a session's inbox is one. Those of a feature stand in its folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Literal, TypeAlias, Union

import msgspec

from roost import registry
from roost.log.content import UserPart
from roost.log.session_info import ControlAction, Decision, GrantScope, InputMode, Phase, SessionState

Urgency: TypeAlias = Literal[0, 1, 2]
InterruptCause: TypeAlias = Literal["cancel", "pause", "stop", "rollback", "steer", "message", "deadline", "shutdown"]
"""What interrupts a running step: an input, the time limit of the turn, or the node."""


class Input(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type"):
    """Base of all inputs. urgency: 0 for conversation, 1 for an answer that a waiting turn needs, 2 for an input that a
    session takes in any state. account: the one that sent it; None for the home, and for what no request sent."""

    urgency: ClassVar[Urgency] = 2
    account: str | None = None

    @property
    def interrupts(self) -> InterruptCause | None:
        """What it interrupts a running step as, if at all."""
        return None

    @property
    def fired(self) -> str | None:
        """The timer that put it into the inbox; None for an input that is no firing."""
        return None


class MessageInput(Input, frozen=True, tag="message"):
    """A message to the agent. mode: `steer` is delivered inside the running turn, `follow_up` when the turn would
    stop."""

    urgency: ClassVar[Urgency] = 0

    parts: tuple[UserPart, ...]
    mode: InputMode = "follow_up"
    source: str | None = None
    tainted: str | None = None
    """The untrusted source that the sender had seen, if any."""
    note: dict[str, Any] | None = None
    """As in `InputReceived`."""

    @property
    def interrupts(self) -> InterruptCause | None:
        return "steer" if self.mode == "steer" else "message"


class ControlInput(Input, frozen=True, tag="control"):
    """scope `task`, of a cancel: cancel the delegated task of the session, with all its children and background
    commands. scope `unused`, of a stop: stop only if the session waits for nothing; the stop does not extend to its
    children. input, of a cancel: the message that began the turn that it is meant for; it cancels no other turn."""

    action: ControlAction
    scope: Literal["task", "unused"] | None = None
    input: int | None = None

    @property
    def interrupts(self) -> InterruptCause | None:
        return self.action if self.action in ("cancel", "pause", "stop") and self.scope != "unused" else None


class ApprovalInput(Input, frozen=True, tag="approval"):
    """arguments: for `modify`, the JSON text of the arguments that the call runs with instead. always, scope: as in
    `ApprovalResolved`. asked: the log position of the answered request; None answers any open request for that call."""

    urgency: ClassVar[Urgency] = 1

    call: str
    decision: Decision
    note: str | None = None
    source: str | None = None
    arguments: str | None = None
    always: tuple[str, ...] = ()
    scope: GrantScope | None = None
    asked: int | None = None


class SetTimerInput(Input, frozen=True, tag="timer.set"):
    """Set, move or (with `due` None) clear a durable timer. When it comes due, the agent gets `parts` as a message."""

    timer: str
    due: float | None
    parts: tuple[UserPart, ...] = ()


class TimerInput(Input, frozen=True, tag="timer"):
    """A durable timer that came due."""

    urgency: ClassVar[Urgency] = 0

    timer: str
    parts: tuple[UserPart, ...]

    @property
    def interrupts(self) -> InterruptCause | None:
        return "message"

    @property
    def fired(self) -> str:
        return self.timer


class EmitInput(Input, frozen=True, tag="emit"):
    """A program's own event, which enters the log as `Emitted`."""

    name: str
    data: Any = None


CORE: tuple[type[Input], ...] = (
    MessageInput,
    ControlInput,
    ApprovalInput,
    SetTimerInput,
    TimerInput,
    EmitInput,
)
"""The inputs of the loop. Features have theirs in `roost/features/NAME/events.py`."""
_encoder = msgspec.json.Encoder()


def input_types() -> tuple[type[Input], ...]:
    """Return all kinds of inputs: those of the core and of every feature."""
    return tuple(_tags())


@cache
def _tags() -> Mapping[type[Input], str]:
    return registry.kinds("INPUTS", CORE)


@cache
def own_timers() -> Mapping[str, str]:
    """Return the prefixes of the names of timers that Roost sets itself, each with what they are of."""
    found = {"approval:": "calls that wait for a person"}
    for module in registry.load("events"):
        found |= getattr(module, "TIMERS", {})
    return found


@cache
def _decoder() -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(Union[input_types()])  # noqa: UP007 - the types are known at run time


def input_type(item: Input | type[Input]) -> str:
    """Return the tag, for example `message`."""
    return str(item.__struct_config__.tag)


def encode_input(item: Input) -> bytes:
    """Encode an input. Raises `TypeError` for a kind that nobody could read again."""
    if type(item) not in _tags():
        raise TypeError(f"{type(item).__module__}.{type(item).__name__} is not in `INPUTS` of its `events.py`")
    return _encoder.encode(item)


def beginning_of(type: str) -> bytes:
    """Return the prefix that every encoded input of this type has, and no other input."""
    return b'{"type":%b' % _encoder.encode(type)


def decode_input(body: bytes) -> Input:
    return _decoder().decode(body)


def input_digest(item: Input) -> bytes:
    """Return 8 bytes that tell a repetition from a different input under the same idempotency key."""
    return hashlib.blake2b(encode_input(item), digest_size=8).digest()


def admits(state: SessionState, phase: Phase) -> int:
    """Return the least urgency that a session in this state takes; other inputs wait in its inbox."""
    if state not in ("created", "running"):
        return 2
    return 1 if phase == "waiting" else 0
