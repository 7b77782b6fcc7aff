"""The meaning of events: `apply` folds them into a session's state. A rollback also needs the state before it:
`roost.agent.rewind`.

The core folds the events of log and loop; each feature folds its own, by the tables in its `state.py`:

- `FOLDS`: event class -> function, for the events that the feature owns;
- `WATCHES`: event class of the core -> function, called at the one moment of that event that `_Core` names. For
  `InputReceived` it may return texts to put before the message."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from roost import registry
from roost.agent.known_files import take_seen
from roost.agent.state import (
    PERSON,
    Call,
    CallStatus,
    Entry,
    OpenStep,
    State,
    Turn,
    stand_in,
)
from roost.log import events as ev
from roost.log.content import AssistantMessage, Message, Text, ToolCall, ToolMessage, ToolOutcome, Usage, UserMessage
from roost.log.session_info import Decision
from roost.models.tokens import estimate

Fold: TypeAlias = Callable[[State, Any], object]
Watch: TypeAlias = Callable[[State, Any], Sequence[Text] | None]


def apply(state: State, event: ev.Event) -> None:
    """Apply one event to the state. Total: any sequence of events gives a state, so any prefix of any log can be
    read."""
    state.seq += 1
    tables().folds[type(event)](state, event)


class _Tables(NamedTuple):
    folds: Mapping[type, Fold]
    watches: Mapping[type, Sequence[Watch]]


@cache
def tables() -> _Tables:
    """Join the folds of the core and of all features. Raises `TypeError` if two own an event, or none does."""
    known = set(ev.event_types())
    folds: dict[type, Fold] = dict(_CORE)
    watches: dict[type, list[Watch]] = {}
    for module in registry.load("state"):
        own: Mapping[type, Fold] = getattr(module, "FOLDS", {})
        if both := own.keys() & folds.keys():
            raise TypeError(f"{module.__name__} folds {both}, which another feature or the core folds")
        if unlisted := own.keys() - known:
            raise TypeError(f"{module.__name__} folds {unlisted}, which is not in `EVENTS` of its `events.py`")
        folds |= own
        seen: Iterable[tuple[type, Watch]] = getattr(module, "WATCHES", {}).items()
        for kind, watch in seen:
            watches.setdefault(kind, []).append(watch)
    if missing := known - folds.keys():
        raise TypeError(f"nothing folds {missing}")
    if unseen := watches.keys() - _WATCHED:
        raise TypeError(f"features watch {unseen}, and the core tells of {_WATCHED}")
    return _Tables(folds, watches)


def _tell(state: State, event: ev.Event) -> list[Text]:
    """Call the watches of an event."""
    texts: list[Text] = []
    for watch in tables().watches.get(type(event), ()):
        texts += watch(state, event) or ()
    return texts


# Folds of the core


def _model_started(state: State, event: ev.ModelStarted) -> None:
    if state.open_step is None or state.open_step.step != event.step:
        state.steps = max(state.steps, event.step)
        if state.turn is not None:
            state.turn.steps += 1
    state.open_step = OpenStep(event.step, event.attempt, event.model, event.context)


def _model_completed(state: State, event: ev.ModelCompleted) -> None:
    """Watches are told while the step is still open."""
    _tell(state, event)
    _end_step(state, event.seconds, event.usage)
    _settle(state)
    if event.parts:
        say(state, AssistantMessage(event.parts))
    state.calls = [Call(part) for part in event.parts if isinstance(part, ToolCall)]


def _model_failed(state: State, event: ev.ModelFailed) -> None:
    _end_step(state, event.seconds, event.usage)


def _session_created(state: State, event: ev.SessionCreated) -> None:
    state.agent, state.spec, state.workspace = event.agent, bytes(event.spec), event.workspace
    state.family, state.tainted = event.family, event.tainted


def _state_changed(state: State, event: ev.StateChanged) -> None:
    state.state, state.reason = event.state, event.reason


def _input_received(state: State, event: ev.InputReceived) -> None:
    """Watches are told before the message is added, and may put texts before it."""
    _settle(state)
    say(state, UserMessage((*_tell(state, event), *event.parts)))


def _turn_started(state: State, event: ev.TurnStarted) -> None:
    """Watches are told once the turn is open."""
    state.turns = event.turn
    state.turn = Turn(event.turn, event.input, event.at)
    if state.entries:
        state.entries[-1].turn = event.turn
    _tell(state, event)


def _turn_completed(state: State, event: ev.TurnCompleted) -> None:
    """Watches are told when the results of all calls are in the context, and the turn is still open."""
    _settle(state)
    _tell(state, event)
    state.seconds += event.seconds
    _close(state)


def _travelled(state: State, event: ev.SessionRolledBack | ev.SessionForked) -> None:
    """Watches are told as at the end of a turn."""
    _settle(state)
    _tell(state, event)
    _close(state)
    if isinstance(event, ev.SessionForked):
        state.state, state.reason, state.usage, state.seconds = "created", None, Usage(cost=0), 0.0
        state.grants = []  # a person allowed them in the source only
        state.timers, state.family, state.base = {}, None, state.seq


def _imported(state: State, event: ev.SessionImported) -> None:
    """The log so far comes from another installation. Watches are told as at the end of a turn."""
    _settle(state)
    _tell(state, event)
    _close(state)
    state.timers, state.usage, state.seconds, state.grants = {}, Usage(cost=0), 0.0, []
    state.base = state.seq


def _close(state: State) -> None:
    state.turn, state.open_step = None, None


def _timer_set(state: State, event: ev.TimerSet) -> None:
    state.timers[event.timer] = event.due


def _timer_gone(state: State, event: ev.TimerFired | ev.TimerCleared) -> None:
    state.timers.pop(event.timer, None)


def _model_lost(state: State, event: ev.ModelLost) -> None:
    spend(state, event.usage)


def _tainted(state: State, event: ev.SessionTainted) -> None:
    state.tainted = event.by


def _control_applied(state: State, event: ev.ControlApplied) -> None:
    _tell(state, event)
    state.tainted = None if event.action == "trust" else state.tainted


def _model_notice(state: State, event: ev.ModelNotice) -> None:
    _tell(state, event)


def _nothing(state: State, event: ev.Event) -> None:
    """For events that change no state."""


def _end_step(state: State, seconds: float, usage: Usage | None) -> None:
    state.open_step = None
    if state.turn is not None:
        state.turn.seconds += seconds
    spend(state, usage)


def spend(state: State, usage: Usage | None) -> None:
    """Add what a model call cost."""
    if usage is not None:
        state.usage += usage
        if state.turn is not None:
            state.turn.usage += usage


_OPEN: dict[Decision, CallStatus] = {"approve": "approved", "reject": "rejected", "modify": "approved"}


def _apply_tool(
    state: State, event: ev.ToolStarted | ev.ToolCompleted | ev.ApprovalRequested | ev.ApprovalResolved
) -> None:
    call = state.call(event.call)
    if call is None or call.status == "done":
        return
    match event:
        case ev.ToolStarted():
            call.status, call.attempt, call.replay, call.held = "running", event.attempt, event.replay, False
            call.undo, call.key = event.undo, event.key
        case ev.ToolCompleted():
            parts = event.parts or (Text(_empty(event.outcome)),)
            call.result = ToolMessage(call.call.id, call.call.name, parts, event.outcome != "ok")
            call.status, call.seq, call.code = "done", state.seq, event.code
            if event.seen:
                take_seen(state, event.seen)
            if state.turn is not None:
                state.turn.seconds += event.seconds
            _tell(state, event)
            if state.all_done:
                _settle(state)
        case ev.ApprovalRequested():
            call.status, call.cause, call.reason = "asking", event.cause, event.reason
            call.asked, call.dangers, call.prefixes = state.seq, event.dangers, event.prefixes
            call.offers = event.offers
        case ev.ApprovalResolved():
            call.status, call.reason = _OPEN[event.decision], event.note
            if event.scope == "session":
                state.grants += [one for one in event.always if one not in state.grants]
            _tell(state, event)
            if event.decision == "modify" and event.arguments is not None:
                call.changed, call.changed_by = event.arguments, PERSON


def _empty(outcome: ToolOutcome) -> str:
    return "(no output)" if outcome == "ok" else f"({outcome})"


def _settle(state: State) -> None:
    """Move the results of the newest calls into the context, in the order of the calls."""
    if state.calls:
        for call in state.calls:
            say(state, call.result or stand_in(call), call.seq)
        state.calls = []


def say(state: State, message: Message, seq: int = 0) -> None:
    """Add a message to the context."""
    tokens = estimate(message)
    state.entries.append(Entry(message, tokens, 0, seq))
    state.tokens += tokens


_CORE: Mapping[type, Fold] = {
    ev.SessionCreated: _session_created,
    ev.StateChanged: _state_changed,
    ev.ControlApplied: _control_applied,
    ev.InputReceived: _input_received,
    ev.TurnStarted: _turn_started,
    ev.ModelStarted: _model_started,
    ev.ModelCompleted: _model_completed,
    ev.ModelNotice: _model_notice,
    ev.ModelLost: _model_lost,
    ev.ModelFailed: _model_failed,
    ev.ToolStarted: _apply_tool,
    ev.ToolCompleted: _apply_tool,
    ev.ApprovalRequested: _apply_tool,
    ev.ApprovalResolved: _apply_tool,
    ev.TimerSet: _timer_set,
    ev.TimerFired: _timer_gone,
    ev.TimerCleared: _timer_gone,
    ev.TurnCompleted: _turn_completed,
    ev.SessionTainted: _tainted,
    ev.SessionRolledBack: _travelled,
    ev.SessionForked: _travelled,
    ev.SessionImported: _imported,
    ev.SandboxChosen: _nothing,
    ev.SandboxLimit: _nothing,
    ev.SandboxEnded: _nothing,
    ev.Emitted: _nothing,
}
_WATCHED = frozenset(
    {
        ev.ControlApplied,
        ev.InputReceived,
        ev.TurnStarted,
        ev.ModelCompleted,
        ev.ModelNotice,
        ev.ToolCompleted,
        ev.ApprovalResolved,
        ev.TurnCompleted,
        ev.SessionRolledBack,
        ev.SessionForked,
        ev.SessionImported,
    }
)
"""Events of which the core tells features: `ToolCompleted` before the results are in the context, the others as their
functions say."""
