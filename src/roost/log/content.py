"""The parts of messages. These shapes are persisted inside events: extend them, never change them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec


class _Shape(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", gc=False):
    """Base of the values below. Excluded from the garbage collector (`gc=False`): they form no cycles, and a node has
    many."""


class Text(_Shape, frozen=True, tag="text"):
    text: str


class Thinking(_Shape, frozen=True, tag="thinking"):
    """Reasoning that a model showed. signature: the provider's proof, sent back unchanged.

    origin: the wire and family that can read the signature; it must not be sent to any other. Empty text with a
    signature is reasoning that the provider does not reveal. redacted: hidden for safety. A signature without text
    directly before a text or a call belongs to that part.
    """

    text: str
    signature: str | None = None
    origin: str | None = None
    redacted: bool = False


class _Media(_Shape, frozen=True):
    """Either `data`, base64 without line breaks, or the `url` where the provider finds it. name: the file name."""

    media_type: str
    data: str = ""
    url: str | None = None
    name: str | None = None


class Image(_Media, frozen=True, tag="image"):
    pass


class Audio(_Media, frozen=True, tag="audio"):
    pass


class Video(_Media, frozen=True, tag="video"):
    pass


class File(_Media, frozen=True, tag="file"):
    """A document, such as a PDF."""


class ToolCall(_Shape, frozen=True, tag="tool_call"):
    """A call that the model asks for. arguments: the JSON text exactly as the model wrote it; it may be invalid."""

    id: str
    name: str
    arguments: str = "{}"


Media: TypeAlias = Image | Audio | Video | File
UserPart: TypeAlias = Text | Image | Audio | Video | File
AssistantPart: TypeAlias = Text | Thinking | ToolCall | Image | Audio | Video
ResultPart: TypeAlias = Text | Image | Audio | Video | File


class UserMessage(_Shape, frozen=True, tag="user"):
    """A message of the user, or of a program in the user's place."""

    parts: tuple[UserPart, ...]


class AssistantMessage(_Shape, frozen=True, tag="assistant"):
    """A message of the model."""

    parts: tuple[AssistantPart, ...]

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def calls(self) -> list[ToolCall]:
        return [part for part in self.parts if isinstance(part, ToolCall)]

    @property
    def media(self) -> list[Image | Audio | Video]:
        return [part for part in self.parts if isinstance(part, Image | Audio | Video)]


class ToolMessage(_Shape, frozen=True, tag="tool"):
    """The outcome of one call. It follows the assistant message that made the call."""

    call: str
    name: str
    parts: tuple[ResultPart, ...]
    error: bool = False


Message: TypeAlias = UserMessage | AssistantMessage | ToolMessage


class Usage(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Tokens as the provider counted them. cost: nano-dollars (1e-9 USD); None means unknown, never zero.

    `input` includes `cached` (read from a prompt cache) and `written` (written to one). `output` includes
    `thinking`.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    cost: int | None = None
    written: int = 0
    thinking: int = 0

    def __add__(self, other: Usage) -> Usage:
        cost = None if self.cost is None or other.cost is None else self.cost + other.cost
        return Usage(
            self.input + other.input,
            self.output + other.output,
            self.cached + other.cached,
            cost,
            self.written + other.written,
            self.thinking + other.thinking,
        )


class ErrorData(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as data. code: stable. message: for people. retryable: whether a retry may help. retry_after:
    seconds."""

    code: str
    message: str
    retryable: bool = False
    retry_after: float | None = None


StopReason: TypeAlias = Literal["end", "tool_calls", "length", "refusal"]
ToolOutcome: TypeAlias = Literal["ok", "error", "denied", "cancelled", "interrupted", "skipped"]
Replay: TypeAlias = Literal["safe", "never", "ask"]
"""How recovery treats a tool call that started and has no outcome. safe: run it again with the same idempotency key.
never: record "interrupted, effect unknown". ask: wait for a person."""
