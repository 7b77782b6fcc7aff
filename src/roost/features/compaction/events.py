"""Events and inputs of this feature."""

from __future__ import annotations

from typing import ClassVar, Literal

from roost.log.content import ErrorData, Usage
from roost.log.events import Event, Spent
from roost.log.inputs import Input


class ContextTrimmed(Event, frozen=True, tag="context.trimmed"):
    """The oldest `dropped` messages left the model's context (never the log). Token counts are estimates. Occurs in
    logs up to format 3; replaced by `context.compacted`."""

    margin: ClassVar[str] = ""
    dropped: int
    before: int
    after: int

    @property
    def line(self) -> str:
        return f"the oldest {self.dropped} messages no longer fit the model's context"


class ContextElided(Event, frozen=True, tag="context.elided"):
    """Tool outputs left the model's context (never the log). A stub in their place says where they are, if they are
    `readable` for the model. outputs: positions of their `tool.completed`. shown: how many leading characters of each
    stay. Token counts are estimates."""

    margin: ClassVar[str] = ""
    outputs: tuple[int, ...]
    before: int
    after: int
    readable: bool = True
    shown: int = 0

    @property
    def line(self) -> str:
        return f"{len(self.outputs)} outputs of tools left the model's context"


class CompactionStarted(Event, frozen=True, tag="compaction.started"):
    """Intent: `model` is about to be asked for a summary of the oldest `messages`. attempt: from 1; a crash left the
    earlier attempts without an outcome in the log."""

    purpose: ClassVar[str] = "compaction"
    model: str
    messages: int
    before: int
    attempt: int = 1

    @property
    def asks(self) -> str:
        return self.model


class ContextCompacted(Event, frozen=True, tag="context.compacted"):
    """Of the oldest `upto` messages, those at the places `keep` stay in the model's context and `dropped` left it
    (never the log). The pins and the `summary` replace them. by: a model wrote the summary, or a rule. With `upto` 0
    nothing changed. error: why the model's summary failed or was rejected. usage: what it cost nevertheless. Token
    counts are estimates."""

    margin: ClassVar[str] = ""
    purpose: ClassVar[str] = "compaction"
    before: int
    after: int
    upto: int = 0
    keep: tuple[int, ...] = ()
    dropped: int = 0
    summary: str = ""
    by: Literal["model", "plain"] | None = None
    usage: Usage | None = None
    seconds: float = 0.0
    error: ErrorData | None = None

    @property
    def line(self) -> str | None:
        if not self.upto:
            return None
        what = "were summarized" if self.by == "model" else "left the model's context"
        return f"{self.dropped} messages {what}: {self.before} → {self.after} tokens"

    @property
    def spent(self) -> Spent | None:
        return None if self.usage is None else Spent(self.usage, self.seconds)


class ContextPinned(Event, frozen=True, tag="context.pinned"):
    """Text that every compaction keeps verbatim under `key`, pinned by a tool call or a person; None removes the
    pin."""

    key: str
    text: str | None
    by: str | None = None


class PinInput(Input, frozen=True, tag="pin"):
    """Keep `text` verbatim under `key` through every compaction; None removes the pin. by: the person."""

    key: str
    text: str | None
    by: str


EVENTS = (
    ContextTrimmed,
    ContextElided,
    CompactionStarted,
    ContextCompacted,
    ContextPinned,
)
INPUTS = (PinInput,)
