"""Events and inputs of this feature."""

from __future__ import annotations

from typing import ClassVar

from roost.ids import short
from roost.log.content import Usage, UserPart
from roost.log.events import ChildOutcome, Event, Question
from roost.log.inputs import Input, InterruptCause, Urgency


class ChildStarted(Event, frozen=True, tag="child.started"):
    """The tool call `call` delegated a task to the session `child` of an agent. The call waits for its end unless it
    runs in the `background`. due: its deadline."""

    child: str
    call: str
    agent: str
    background: bool = False
    due: float | None = None

    @property
    def starts(self) -> str:
        return self.child

    @property
    def line(self) -> str:
        how = " in the background" if self.background else ""
        return f"{self.agent} has a task{how}: session {short(self.child)}"


class ChildHeld(Event, frozen=True, tag="child.held"):
    """The limit of concurrent children is reached: the tool call waits until one of them ends."""

    call: str


class ChildWaits(Event, frozen=True, tag="child.waits"):
    """A call in `session`, which is the child or one of its descendants, waits for a person."""

    child: str
    session: str
    call: str
    tool: str
    reason: str = ""

    @property
    def question(self) -> Question:
        return Question(self.call, self.session)

    @property
    def line(self) -> str:
        return f"{self.tool} waits for an answer: roost approve {short(self.session)} {self.call}"


class ChildEnded(Event, frozen=True, tag="child.ended"):
    """The delegated task ended. usage: what the child used; it is in no sum of this session."""

    child: str
    outcome: ChildOutcome
    reason: str | None = None
    usage: Usage = Usage()

    @property
    def line(self) -> str:
        return f"session {short(self.child)}: {self.outcome}" + (f", {self.reason}" if self.reason else "")


class ChildInput(Input, frozen=True, tag="child"):
    """The end of a delegated task, for the session that delegated it. parts: the child's last answer. tainted: the
    untrusted source that the child had seen, if any."""

    urgency: ClassVar[Urgency] = 1

    child: str
    outcome: ChildOutcome
    parts: tuple[UserPart, ...] = ()
    reason: str | None = None
    usage: Usage = Usage()
    tainted: str | None = None

    @property
    def interrupts(self) -> InterruptCause | None:
        return "message"


class ChildWaitsInput(Input, frozen=True, tag="child.waits"):
    """As `ChildWaits`."""

    child: str
    session: str
    call: str
    tool: str
    reason: str = ""


TIMERS = {"child:": "delegated tasks"}
EVENTS = (
    ChildStarted,
    ChildHeld,
    ChildWaits,
    ChildEnded,
)
INPUTS = (
    ChildInput,
    ChildWaitsInput,
)
