"""Events and inputs of this feature."""

from __future__ import annotations

from typing import ClassVar

from roost.log.content import Usage, UserPart
from roost.log.events import ChildOutcome, Event
from roost.log.inputs import Input, InterruptCause, Urgency


class ChildStarted(Event, frozen=True, tag="child.started"):
    """The tool call `call` delegated a task to the session `child` of an agent. The call waits for its end unless it
    runs in the `background`. due: its deadline."""

    child: str
    call: str
    agent: str
    background: bool = False
    due: float | None = None


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


class ChildEnded(Event, frozen=True, tag="child.ended"):
    """The delegated task ended. usage: what the child used; it is in no sum of this session."""

    child: str
    outcome: ChildOutcome
    reason: str | None = None
    usage: Usage = Usage()


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
