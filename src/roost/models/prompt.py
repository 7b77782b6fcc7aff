"""The prompt: the output of a compiler and the input of a wire."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from roost.log.content import Message
from roost.models.profile import Profile
from roost.models.request import Request, ToolChoice, ToolSpec


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """A request in the shape that suits a model family, independent of the wire.

    system: blocks in order. stable_system, stable: how many leading `system` blocks and `messages` the next request of
    the conversation will repeat unchanged, so that a provider's prompt cache may hold them. knobs: requested settings,
    by their names in `Profile.knobs`; the wire sends those that the model has.
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
    """Shapes requests for one model family. Pure: the same request gives the same prompt, and no state is kept.

    A longer conversation never changes the stable prefix of a shorter one. If a request only adds messages at the end
    of another, its prompt contains the other's first `stable_system` blocks, tools and first `stable` messages
    unchanged. A prompt's messages are as valid as the request's. Raises nothing for a valid request.
    """

    @property
    def name(self) -> str: ...

    def compile(self, request: Request, profile: Profile) -> Prompt: ...
