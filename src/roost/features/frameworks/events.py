"""Events of this feature."""

from __future__ import annotations

from typing import Any, Literal

from roost.log.content import AssistantPart, Replay, ResultPart, StopReason, Text, ToolOutcome, Usage
from roost.log.events import Event, Spent


class FrameworkInstalled(Event, frozen=True, tag="framework.installed"):
    """The environment of an agent was built. environment: its id. packages: how many it has. seconds: how long it
    took."""

    environment: str
    packages: int
    seconds: float

    @property
    def line(self) -> str:
        return f"its environment is ready: {self.packages} packages in {self.seconds:.1f} s"


class FrameworkBegan(Event, frozen=True, tag="framework.began"):
    """The agent's program was started. run: counts from 1 in each turn; the same number is the same work once more,
    from its beginning. first, told: it is given the turn's messages from `first` up to `told`. environment, code: what
    it runs with."""

    framework: str
    run: int
    first: int
    told: int
    environment: str
    code: str

    @property
    def line(self) -> str:
        return f"the agent runs in {self.framework}"


class FrameworkAsked(Event, frozen=True, tag="framework.asked"):
    """What the answer of a step is recorded under. scope: the tool call in which the agent asked; empty outside of
    any. digest: of the normalised request. masked: without dates, times and random ids in the instructions."""

    step: int
    scope: str
    digest: str
    masked: str


class FrameworkAnswered(Event, frozen=True, tag="framework.answered"):
    """A model call that the agent made while its tools ran, so that it is no step. Other fields as in
    `FrameworkAsked` and `ModelCompleted`."""

    scope: str
    digest: str
    masked: str
    parts: tuple[AssistantPart, ...]
    stop: StopReason = "end"
    usage: Usage = Usage()
    seconds: float = 0.0
    model: str = ""

    @property
    def spent(self) -> Spent:
        return Spent(self.usage, self.seconds, self.model or None)

    @property
    def line(self) -> str | None:
        said = " ".join(part.text for part in self.parts if isinstance(part, Text))
        return f"(within a call) {said[:200]}" if said else None


class FrameworkWentOn(Event, frozen=True, tag="framework.went_on"):
    """The agent goes on after an answer that asked for no tool."""


class FrameworkCallStarted(Event, frozen=True, tag="framework.call_started"):
    """Intent: a tool that was called inside another call is about to run. call: its id. outer: the call of the session
    inside which it runs. why: the decision source that allowed it."""

    call: str
    outer: str
    name: str
    arguments: str
    replay: Replay
    why: str = ""

    @property
    def line(self) -> str:
        return f"(within a call) {self.name} {self.arguments[:200]}"


class FrameworkCallEnded(Event, frozen=True, tag="framework.call_ended"):
    """The outcome of a tool that was called inside another call."""

    call: str
    outcome: ToolOutcome
    parts: tuple[ResultPart, ...] = ()


class FrameworkCallWaits(Event, frozen=True, tag="framework.call_waits"):
    """A tool that was called inside another call waits for a person, who is asked about the outer call."""

    call: str
    outer: str
    name: str
    arguments: str


class FrameworkEnded(Event, frozen=True, tag="framework.ended"):
    """A run of the agent has ended well. Its conversation is now the first `keep` items of the one before, and `items`.
    unclaimed: answers and calls of an earlier attempt that this one did not ask for."""

    keep: int = 0
    items: tuple[Any, ...] = ()
    unclaimed: int = 0


class FrameworkDiverged(Event, frozen=True, tag="framework.diverged"):
    """The agent did not repeat itself after a crash. drifted: only dates, times or random ids of its instructions
    differ, and the recorded answer was used. stopped: an effect might have happened twice, so the turn was ended, or a
    person is asked about `call`. lost: the recorded calls that the agent does not ask for any more."""

    kind: Literal["drifted", "stopped"]
    about: str
    call: str = ""
    lost: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        return f"the agent did not repeat itself ({self.kind}): {self.about}"


EVENTS = (
    FrameworkInstalled,
    FrameworkBegan,
    FrameworkAsked,
    FrameworkAnswered,
    FrameworkWentOn,
    FrameworkCallStarted,
    FrameworkCallEnded,
    FrameworkCallWaits,
    FrameworkEnded,
    FrameworkDiverged,
)
