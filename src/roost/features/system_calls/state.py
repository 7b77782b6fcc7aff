"""Fold the call that the open turn answers."""

from __future__ import annotations

import msgspec

from roost.agent.state import State, Turn
from roost.agent.state_parts import TurnPart
from roost.features.system_calls.events import CallOutcome, SystemAnswered, SystemCalled
from roost.features.system_calls.rights import MODEL
from roost.log import events as ev
from roost.log.content import Text, ToolCall


class CallInTurn(msgspec.Struct):
    """The call that began a turn. outcome, text: once it has one. answered: the turn has told it."""

    input: int
    tool: str
    arguments: str
    outcome: CallOutcome | None = None
    text: str = ""
    answered: bool = False

    @property
    def id(self) -> str:
        """The id of its tool call."""
        return f"system-{self.input}"


class SystemTurn(TurnPart):
    """system_call: None in a turn that anything else began."""

    system_call: CallInTurn | None = None


def call_of(turn: Turn | None) -> CallInTurn | None:
    """Return the call that began a turn."""
    return None if turn is None else turn.part(SystemTurn).system_call


def _called(state: State, event: SystemCalled) -> None:
    if state.turn is not None and not event.refused:
        state.turn.part(SystemTurn).system_call = CallInTurn(event.input, event.tool, event.arguments)


def _nothing(state: State, event: SystemAnswered) -> None:
    pass


def _tool_completed(state: State, event: ev.ToolCompleted) -> None:
    call = call_of(state.turn)
    if call is not None and event.call == call.id:
        texts = (one.text if isinstance(one, Text) else f"[{one.media_type}]" for one in event.parts)
        call.outcome, call.text = event.outcome, "\n".join(texts)


def _model_completed(state: State, event: ev.ModelCompleted) -> None:
    call = call_of(state.turn)
    if call is None or call.answered or any(isinstance(one, ToolCall) for one in event.parts):
        return
    if call.tool == MODEL:
        call.outcome, call.text = "ok", "".join(one.text for one in event.parts if isinstance(one, Text))
    call.answered = True


TURN_PART = SystemTurn
FOLDS = {SystemCalled: _called, SystemAnswered: _nothing}
WATCHES = {ev.ToolCompleted: _tool_completed, ev.ModelCompleted: _model_completed}
