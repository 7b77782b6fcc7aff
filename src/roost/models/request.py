"""The request that the loop passes to a model, and the events that it returns. Only wires translate them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from roost.errors import Invalid
from roost.log.content import AssistantPart, ErrorData, Message, StopReason, Usage
from roost.log.frames import Stage
from roost.models.profile import Price, Profile

__all__ = [
    "EFFORTS",
    "Bill",
    "Budget",
    "CallDelta",
    "Completed",
    "Effort",
    "Failed",
    "Intent",
    "Model",
    "ModelEvent",
    "Notice",
    "Price",
    "Profile",
    "Progress",
    "Request",
    "Signed",
    "TextDelta",
    "ThinkingDelta",
    "ToolChoice",
    "ToolSpec",
]

ToolChoice: TypeAlias = Literal["auto", "none", "required"]
Effort: TypeAlias = Literal["off", "low", "medium", "high", "max"]
EFFORTS: tuple[Effort, ...] = ("off", "low", "medium", "high", "max")
Intent: TypeAlias = Literal[
    "design", "plan", "replan", "execute", "review", "chat", "chat_friendly", "sub_agent", "code_generation"
]


class ToolSpec(msgspec.Struct, frozen=True):
    """A tool as a model sees it. `schema` is a JSON Schema of type object."""

    name: str
    description: str
    schema: dict[str, Any]


class Budget(msgspec.Struct, frozen=True):
    """A budget that a call is charged to (`turn:...`, `session:...`, `agent:...`, `user:...`). limit: the most it may
    hold, in nano-dollars; None only counts."""

    name: str
    limit: int | None = None


_NOTHING = Usage(cost=0)
MOST_OUTPUT = 2**31 - 1
"""Largest `max_output` of a request."""


class Bill:
    """The cost of a request so far, over all calls made for it; updated while it runs.

    usage: the sum; its cost is None after the first call of unknown price. model: the last one called. estimated: how
    many calls have an estimated usage, because they were cut off before the provider reported it. All copies of a
    request share its bill. For one request in one task.
    """

    __slots__ = ("calls", "estimated", "model", "usage")

    def __init__(self) -> None:
        self.usage = _NOTHING
        self.calls = 0
        self.estimated = 0
        self.model = ""

    def add(self, model: str, usage: Usage, *, estimated: bool = False) -> None:
        self.usage += usage
        self.calls += 1
        self.estimated += estimated
        self.model = model


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One model call, independent of any provider.

    messages: valid for every provider: each call of an assistant message is followed by its result, and the first
    message is the user's. intent: the purpose of the call. effort: how much the model should think. output_hint: the
    form of the answer, in words. None leaves each to the model. stream: False asks for the answer in one document.
    meta: (`session`, `step`, `attempt`, `agent`, `user`, `horizon`, `others`) for logs, routing and the ledger; not
    sent. budgets: charged in addition to the general ones. bill: records the cost. named: called with the provider's id
    of the answer, once known.
    """

    instruction: str
    messages: tuple[Message, ...]
    context: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice = "auto"
    output_schema: dict[str, Any] | None = None
    max_output: int | None = None
    temperature: float | None = None
    stop: tuple[str, ...] = ()
    meta: dict[str, str] = {}
    intent: Intent | None = None
    effort: Effort | None = None
    output_hint: str | None = None
    knobs: dict[str, Any] = {}
    """Further settings by their names in `Profile.knobs`; a model without such a knob is not sent it."""
    stream: bool = True
    budgets: tuple[Budget, ...] = ()
    bill: Bill | None = None
    named: Callable[[str], None] | None = None
    since: int = 0
    """Index of the first message of the present turn. Earlier media may become a note even without an answer in
    between, i.e. after a failed turn."""

    def __post_init__(self) -> None:
        """Check what money is reserved by. Raises `Invalid`."""
        if self.max_output is not None and not 1 <= self.max_output <= MOST_OUTPUT:
            raise Invalid(f"max_output: an answer has 1 to {MOST_OUTPUT} tokens, not {_shown(self.max_output)}")


def _shown(number: int) -> str:
    return str(number) if abs(number) < 10**20 else "a longer number"


class TextDelta(msgspec.Struct, frozen=True):
    """A piece of the answer's text."""

    text: str


class ThinkingDelta(msgspec.Struct, frozen=True):
    """A piece of the reasoning that the model shows."""

    text: str


class Signed(msgspec.Struct, frozen=True):
    """The reasoning that was shown last is whole. Fields as in `Thinking`. Some providers sign only whole answers: the
    signatures are then in `Completed` alone."""

    signature: str
    origin: str
    redacted: bool = False


class CallDelta(msgspec.Struct, frozen=True):
    """A piece of a tool call's arguments. name: comes with the first piece of call number `index`."""

    index: int
    arguments: str
    name: str | None = None


class Notice(msgspec.Struct, frozen=True):
    """An event during the call, for the log: a retry, a fallback, a repair, a route, a breaker, a wait for a limit.

    data: small, of JSON types. After a notice of kind `restart` the output so far is void.
    """

    kind: str
    data: dict[str, Any] = {}


class Progress(msgspec.Struct, frozen=True):
    """Work of a model before it answers, for people who wait: `fetching` weights (bytes), `loading` them, `reading` the
    prompt (tokens). total: 0 means unknown. Not stored, and not part of the answer."""

    stage: Stage
    done: int = 0
    total: int = 0


class Completed(msgspec.Struct, frozen=True):
    """The complete answer. Every `ToolCall` in it has an id that is unique within the answer.

    cut: name of the call that the output limit (`stop` `length`) cut off and that is not in `parts`; empty if the limit
    came before any output. Only then may `parts` be empty. word: the stop word that ended the answer; many servers do
    not say it.
    """

    parts: tuple[AssistantPart, ...]
    stop: StopReason
    usage: Usage = Usage()
    cut: str | None = None
    word: str | None = None


class Failed(msgspec.Struct, frozen=True):
    """The call failed. usage: what it cost, if the provider reported it; a cost of 0 means that it was rejected. None
    means unknown: the ledger then uses an estimate. sent: False means that the model was never called: no cost, no
    effect on limits or on the model's status."""

    error: ErrorData
    usage: Usage | None = None
    sent: bool = True


ModelEvent: TypeAlias = TextDelta | ThinkingDelta | Signed | CallDelta | Notice | Progress | Completed | Failed


class Model(Protocol):
    """A model endpoint.

    `stream`, an async generator, must not raise: a failure is a `Failed` event. Exactly one `Completed` or `Failed`
    ends the stream. Closing the iterator or cancelling the task that reads it stops the call at the provider as far as
    the wire allows, at once. May be called concurrently.
    """

    @property
    def name(self) -> str: ...

    @property
    def profile(self) -> Profile: ...

    def stream(self, request: Request) -> AsyncIterator[ModelEvent]: ...

    async def close(self) -> None: ...
