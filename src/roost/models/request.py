"""The request that the loop hands to a model, and the events that come back. Wires translate; nothing else does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from roost.log.content import AssistantPart, ErrorData, Message, StopReason, Usage
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
    "Stage",
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
    """What a call is charged to (`turn:...`, `session:...`, `agent:...`, `user:...`), and how much it may hold at most,
    in nano-dollars; without a limit it only counts."""

    name: str
    limit: int | None = None


_NOTHING = Usage(cost=0)


class Bill:
    """What a request has cost so far, over all the calls that were made for it, filled in while it runs.

    `usage` is their sum, whose cost is None from the first call of unknown price on. `model` is the one that was called
    last. `estimated` counts the calls whose usage is an estimate, because they were cut off before the provider said.
    Every copy of a request shares its bill. One request, one task.
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
    """One model call, free of any provider's shape.

    `messages` is valid for every provider: each call of an assistant message is followed by its result, and the first
    message is the user's. `intent` is what the call is for, `effort` how hard the model shall think, `output_hint` what
    the answer shall look like, in words; None leaves each to the model. Without `stream` the answer is asked for in one
    document. `meta` (`session`, `step`, `attempt`, `agent`, `user`, `horizon`, `others`) is for logs, routing and the
    ledger; it is not sent. `budgets` are charged for the call beside those that hold for everybody. `bill`, where there
    is one, learns what it cost. `named` is called with the id that the provider gave the answer, once it is known.
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
    """Further settings by their names in `Profile.knobs`; a model that has no such knob is not sent it."""
    stream: bool = True
    budgets: tuple[Budget, ...] = ()
    bill: Bill | None = None
    named: Callable[[str], None] | None = None
    since: int = 0
    """Index of the first message of the present turn. Media before it may become a note, even where no answer stands
    between them and what was said last, because that turn failed."""


class TextDelta(msgspec.Struct, frozen=True):
    text: str


class ThinkingDelta(msgspec.Struct, frozen=True):
    text: str


class CallDelta(msgspec.Struct, frozen=True):
    """A piece of a tool call's arguments; `name` comes with the first piece of call number `index`."""

    index: int
    arguments: str
    name: str | None = None


class Notice(msgspec.Struct, frozen=True):
    """What happened on the way, for the log: a retry, a fallback, a repair, a route, a breaker, a wait for a limit.

    `data` is small and of JSON's types. After a notice of kind `restart` what was said so far does not count."""

    kind: str
    data: dict[str, Any] = {}


Stage: TypeAlias = Literal["fetching", "loading", "reading"]


class Progress(msgspec.Struct, frozen=True):
    """What a model does before it answers, for people who wait: `fetching` its weights (bytes), `loading` them,
    `reading` the prompt (tokens). `total` 0: nobody knows how far it is. It is not kept, and counts as nothing said."""

    stage: Stage
    done: int = 0
    total: int = 0


class Completed(msgspec.Struct, frozen=True):
    """The whole answer. Every `ToolCall` in it has an id that is unique within the answer.

    `cut`: the name of the call that the output limit (`stop` `length`) cut off, which is not among the `parts`; empty
    where the limit came before anything was said. Only with it there may be no parts.
    """

    parts: tuple[AssistantPart, ...]
    stop: StopReason
    usage: Usage = Usage()
    cut: str | None = None


class Failed(msgspec.Struct, frozen=True):
    """`usage` is what a call that failed in its midst has cost, where the provider said so; with a cost of 0 that of
    one which was turned away. None: nobody knows, and the ledger counts it by an estimate. Without `sent` the model was
    not asked at all: it costs nothing, counts against no limit and does not speak against the model."""

    error: ErrorData
    usage: Usage | None = None
    sent: bool = True


ModelEvent: TypeAlias = TextDelta | ThinkingDelta | CallDelta | Notice | Progress | Completed | Failed


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
