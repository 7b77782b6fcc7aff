"""What a compiler makes of a request and a wire sends."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from roost.log.content import Message
from roost.models.profile import Profile
from roost.models.request import Request, ToolChoice, ToolSpec


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """A request in the shape that a model's family likes, on any wire.

    `system` are blocks in order. The first `stable_system` of them and the first `stable` of `messages` will be the
    same in the next request of the conversation: a provider's prompt cache may hold them. `knobs` are the settings that
    were asked for, by their names in `Profile.knobs`; the wire sends those that the model has.
    """

    system: tuple[str, ...]
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice = "auto"
    output_schema: dict[str, Any] | None = None
    max_output: int | None = None
    stop: tuple[str, ...] = ()
    knobs: dict[str, Any] = {}
    stable: int = 0
    stable_system: int = 0


class Compiler(Protocol):
    """Shapes requests for one family of models. Pure: the same request gives the same prompt, and nothing is kept.

    A longer conversation never changes the stable prefix of a shorter one: where two requests differ only in that one
    has more messages at the end, the first `stable_system` blocks, the tools and the first `stable` messages of the
    shorter one's prompt are in the other's unchanged. Every prompt's messages are as valid as the request's. Raises
    nothing for a valid request.
    """

    @property
    def name(self) -> str: ...

    def compile(self, request: Request, profile: Profile) -> Prompt: ...
