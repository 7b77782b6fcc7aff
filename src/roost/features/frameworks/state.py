"""Fold what an agent of a framework was answered, so that the same work can be done once more without asking again."""

from __future__ import annotations

from typing import Any

import msgspec

from roost.agent.fold import spend
from roost.agent.state import State
from roost.agent.state_parts import StatePart, TurnPart
from roost.features.frameworks.events import (
    FrameworkAnswered,
    FrameworkAsked,
    FrameworkBegan,
    FrameworkCallEnded,
    FrameworkCallStarted,
    FrameworkCallWaits,
    FrameworkDiverged,
    FrameworkEnded,
    FrameworkInstalled,
    FrameworkWentOn,
)
from roost.log import events as ev
from roost.log.content import AssistantPart, Replay, ResultPart, StopReason, Text, ToolOutcome


class Answer(msgspec.Struct):
    """A recorded answer. Fields as in `FrameworkAnswered`."""

    scope: str
    digest: str
    masked: str
    parts: tuple[AssistantPart, ...] = ()
    stop: StopReason = "end"


class Outcome(msgspec.Struct):
    """A recorded outcome of a tool call."""

    parts: tuple[ResultPart, ...]
    outcome: ToolOutcome

    @property
    def text(self) -> str:
        found = "\n".join(part.text if isinstance(part, Text) else f"[{part.media_type}]" for part in self.parts)
        return found or ("" if self.outcome == "ok" else f"({self.outcome})")


class InnerCall(msgspec.Struct):
    """A call inside another one. outer: the call of the session. waits: for a person."""

    outer: str
    name: str
    arguments: str
    replay: Replay = "never"
    waits: bool = False
    result: Outcome | None = None


class FrameworkState(StatePart):
    """memory: the conversation as the framework keeps it: the input of its next turn."""

    restored = ("memory",)
    memory: list[Any] = []


class FrameworkTurn(TurnPart):
    """What the open turn's run of the agent was answered. more: the agent goes on
    after its newest answer. ended: the run has ended. asked: of the step in progress. questions: by the call about
    which a person was asked, the recorded calls that the agent did not ask for any more."""

    run: int = 0
    first: int = 0
    told: int = 0
    environment: str = ""
    code: str = ""
    more: bool = False
    ended: bool = False
    asked: FrameworkAsked | None = None
    answers: list[Answer] = []
    outcomes: dict[str, Outcome] = {}
    inner: dict[str, InnerCall] = {}
    questions: dict[str, tuple[str, ...]] = {}

    @property
    def goes_on(self) -> bool:
        return self.more


def _began(state: State, event: FrameworkBegan) -> None:
    if state.turn is None:
        return
    part = state.turn.part(FrameworkTurn)
    if event.run != part.run:
        part.answers, part.outcomes, part.inner, part.questions = [], {}, {}, {}
    part.run, part.first, part.told, part.ended = event.run, event.first, event.told, False
    part.environment, part.code = event.environment, event.code


def _asked(state: State, event: FrameworkAsked) -> None:
    if state.turn is not None:
        state.turn.part(FrameworkTurn).asked = event


def _completed(state: State, event: ev.ModelCompleted) -> None:
    if state.turn is None or not (part := state.turn.part(FrameworkTurn)).run:
        return
    part.more = False
    if part.asked is not None and part.asked.step == event.step:
        asked = part.asked
        part.answers.append(Answer(asked.scope, asked.digest, asked.masked, event.parts, event.stop))
    part.asked = None


def _answered(state: State, event: FrameworkAnswered) -> None:
    spend(state, event.usage)
    if state.turn is not None:
        found = Answer(event.scope, event.digest, event.masked, event.parts, event.stop)
        state.turn.part(FrameworkTurn).answers.append(found)


def _went_on(state: State, event: FrameworkWentOn) -> None:
    if state.turn is not None:
        state.turn.part(FrameworkTurn).more = True


def _tool_completed(state: State, event: ev.ToolCompleted) -> None:
    if state.turn is not None and (part := state.turn.part(FrameworkTurn)).run:
        part.outcomes[event.call] = Outcome(event.parts, event.outcome)


def _call_started(state: State, event: FrameworkCallStarted) -> None:
    if state.turn is not None:
        inner = InnerCall(event.outer, event.name, event.arguments, event.replay)
        state.turn.part(FrameworkTurn).inner[event.call] = inner


def _call_waits(state: State, event: FrameworkCallWaits) -> None:
    if state.turn is not None:
        inner = InnerCall(event.outer, event.name, event.arguments, waits=True)
        state.turn.part(FrameworkTurn).inner[event.call] = inner


def _call_ended(state: State, event: FrameworkCallEnded) -> None:
    if state.turn is not None and (call := state.turn.part(FrameworkTurn).inner.get(event.call)) is not None:
        call.result, call.waits = Outcome(event.parts, event.outcome), False


def _ended(state: State, event: FrameworkEnded) -> None:
    part = state.part(FrameworkState)
    part.memory = [*part.memory[: event.keep], *event.items]
    if state.turn is not None:
        state.turn.part(FrameworkTurn).ended = True


def _diverged(state: State, event: FrameworkDiverged) -> None:
    if state.turn is not None and event.call:
        state.turn.part(FrameworkTurn).questions[event.call] = event.lost


def _nothing(state: State, event: FrameworkInstalled) -> None:
    pass


PART = FrameworkState
TURN_PART = FrameworkTurn
FOLDS = {
    FrameworkInstalled: _nothing,
    FrameworkBegan: _began,
    FrameworkAsked: _asked,
    FrameworkAnswered: _answered,
    FrameworkWentOn: _went_on,
    FrameworkCallStarted: _call_started,
    FrameworkCallEnded: _call_ended,
    FrameworkCallWaits: _call_waits,
    FrameworkEnded: _ended,
    FrameworkDiverged: _diverged,
}
WATCHES = {ev.ModelCompleted: _completed, ev.ToolCompleted: _tool_completed}
