"""Events and inputs of this feature."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from roost.log.content import ToolOutcome
from roost.log.events import Event
from roost.log.inputs import Input, InterruptCause, Urgency

CallOutcome: TypeAlias = ToolOutcome | Literal["failed"]
"""As of a tool call. failed: the turn ended before the call had an outcome."""


class SystemCalled(Event, frozen=True, tag="system.called"):
    """A call of another agent or of a program begins. input: number of the call. tool: a tool of this session, or
    `model`. arguments: JSON text. caller: the agent that calls, or `@program`. session: the one for which it calls.
    refused: why it does not run; empty if it does."""

    input: int
    tool: str
    arguments: str = "{}"
    caller: str = ""
    session: str = ""
    refused: str = ""

    @property
    def line(self) -> str:
        return f"{self.caller} calls {self.tool}" + (f": refused, {self.refused}" if self.refused else "")


class SystemAnswered(Event, frozen=True, tag="system.answered"):
    """The outcome of a call. input: as in `SystemCalled`. text: what it returned, or why it has no result."""

    input: int
    outcome: CallOutcome
    text: str = ""


class SystemCallInput(Input, frozen=True, tag="system.call"):
    """Fields as in `SystemCalled`. tainted: the caller has read untrusted content; what it was."""

    urgency: ClassVar[Urgency] = 0

    tool: str
    arguments: str = "{}"
    caller: str = ""
    session: str = ""
    tainted: str | None = None

    @property
    def interrupts(self) -> InterruptCause | None:
        return "message"


EVENTS = (SystemCalled, SystemAnswered)
INPUTS = (SystemCallInput,)
