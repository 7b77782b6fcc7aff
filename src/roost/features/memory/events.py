"""Events and inputs of this feature."""

from __future__ import annotations

from typing import ClassVar, Literal

from roost.log.content import Usage
from roost.log.events import Event, Spent
from roost.log.facts import NewFact, RecalledFact
from roost.log.inputs import Input
from roost.terminal_text import one_line


class MemoryChanged(Event, frozen=True, tag="memory.changed"):
    """In the same commit, `facts` were added and the facts with the ids `ended` ended. merge: one fact replaced
    several. propose: the facts wait for a person. revert: the changes that the log made to facts after event `since`
    were undone. call: the tool call that made the change. Facts of the space `turn:N` exist in the session's state
    only."""

    op: Literal["add", "update", "remove", "merge", "propose", "revert"]
    facts: tuple[NewFact, ...] = ()
    ended: tuple[str, ...] = ()
    call: str | None = None
    since: int | None = None

    @property
    def line(self) -> str | None:
        return f"memory, {self.op}: {one_line(self.facts[0].text, 100)}" if self.facts else None


class MemoryRecalled(Event, frozen=True, tag="memory.recalled"):
    """Facts that fit the input were added for the model at the start of the turn. how: found by words and meaning, or
    by words only; then `why`."""

    turn: int
    facts: tuple[RecalledFact, ...] = ()
    how: Literal["hybrid", "words"] = "hybrid"
    why: str | None = None
    seconds: float = 0.0

    @property
    def line(self) -> str | None:
        if not self.facts:
            return None
        return f"recalled {_facts(len(self.facts))}" + (f" by words alone: {self.why}" if self.why else "")


class ConsolidationStarted(Event, frozen=True, tag="consolidation.started"):
    """Intent: a model is about to be asked which facts of the turns up to and including `upto` are worth keeping."""

    upto: int
    model: str
    attempt: int = 1


class MemoryConsolidated(Event, frozen=True, tag="memory.consolidated"):
    """A model was asked which facts of the turns up to and including `upto` are worth keeping; `memory.changed` in the
    same commit has the result. usage: the cost of asking. error: why there is no result."""

    purpose: ClassVar[str] = "memory"
    upto: int
    facts: int = 0
    model: str | None = None
    usage: Usage = Usage()
    seconds: float = 0.0
    error: str | None = None

    @property
    def line(self) -> str | None:
        return f"kept {_facts(self.facts)} of the last turns" if self.facts else None

    @property
    def spent(self) -> Spent | None:
        return None if self.usage == Usage() else Spent(self.usage, self.seconds, self.model)


class ConsolidateInput(Input, frozen=True, tag="consolidate"):
    """The consolidation timer set for `due` came due: ask a model which facts of the last turns are worth keeping."""

    due: float

    @property
    def fired(self) -> str:
        return TIMER


def _facts(count: int) -> str:
    return "1 fact" if count == 1 else f"{count} facts"


TIMER = "memory:consolidation"
TIMERS = {"memory:": "the memory"}
EVENTS = (
    MemoryChanged,
    MemoryRecalled,
    ConsolidationStarted,
    MemoryConsolidated,
)
INPUTS = (ConsolidateInput,)
