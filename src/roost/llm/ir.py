"""The request that the loop hands to a model, and the events that come back. Wires translate; nothing else does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from roost.log.content import AssistantPart, ErrorData, Message, StopReason, Usage

ToolChoice: TypeAlias = Literal["auto", "none", "required"]


class ToolSpec(msgspec.Struct, frozen=True):
    """A tool as a model sees it. `schema` is a JSON Schema of type object."""

    name: str
    description: str
    schema: dict[str, Any]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One model call, free of any provider's shape.

    `messages` is valid for every provider: each call of an assistant message is followed by its result, and the first
    message is the user's. `meta` (session, step) is for logs and routing; it is not sent.
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


class TextDelta(msgspec.Struct, frozen=True):
    text: str


class ThinkingDelta(msgspec.Struct, frozen=True):
    text: str


class CallDelta(msgspec.Struct, frozen=True):
    """A piece of a tool call's arguments; `name` comes with the first piece of call number `index`."""

    index: int
    arguments: str
    name: str | None = None


class Completed(msgspec.Struct, frozen=True):
    """The whole answer. Every `ToolCall` in it has an id that is unique within the answer."""

    parts: tuple[AssistantPart, ...]
    stop: StopReason
    usage: Usage = Usage()


class Failed(msgspec.Struct, frozen=True):
    error: ErrorData


ModelEvent: TypeAlias = TextDelta | ThinkingDelta | CallDelta | Completed | Failed


class Price(msgspec.Struct, frozen=True):
    """Nano-dollars a token (1 USD a million tokens = 1000). `cached` is what a cache read costs."""

    input: int
    output: int
    cached: int | None = None

    def cost(self, usage: Usage) -> int:
        cached = self.input if self.cached is None else self.cached
        return (usage.input - usage.cached) * self.input + usage.cached * cached + usage.output * self.output


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What a model can do, as data. `price` None means unknown."""

    window: int = 32_768
    max_output: int = 4_096
    images: bool = False
    price: Price | None = None
    local: bool = False
    """Runs in this process; small, so the default policy asks before it writes."""


class Model(Protocol):
    """A model endpoint.

    `stream` must not raise: a failure is a `Failed` event. Exactly one `Completed` or `Failed` ends the stream. Closing
    the iterator or cancelling the task that reads it stops the call at the provider as far as the wire allows, at once.
    May be called concurrently.
    """

    @property
    def name(self) -> str: ...

    @property
    def profile(self) -> Profile: ...

    def stream(self, request: Request) -> AsyncIterator[ModelEvent]: ...

    async def close(self) -> None: ...
