"""The meaning of events: `apply` folds them into a session's state. A rollback also needs the state before it:
`roost.agent.rewind`."""

from __future__ import annotations

from typing import Literal, assert_never

from roost.agent import checkpoint_state, intents, lineage_state, plan_state, stalls
from roost.agent.compaction import state as compacting
from roost.agent.import_state import take_imported
from roost.agent.known_files import take_seen
from roost.agent.memory_state import take_changed, take_noted, take_recalled
from roost.agent.schedules import state as scheduling
from roost.agent.state import (
    PERSON,
    POINTS,
    Call,
    CallStatus,
    Entry,
    OpenJob,
    OpenStep,
    State,
    Turn,
    stand_in,
    unheard,
)
from roost.log import events as ev
from roost.log.content import AssistantMessage, Message, Text, ToolCall, ToolMessage, ToolOutcome, Usage, UserMessage
from roost.models.tokens import estimate


def apply(state: State, event: ev.Event) -> None:  # noqa: C901 - one arm for each kind, and no more
    """Apply one event to the state. Total: any sequence of events gives a state, so any prefix of any log can be
    read."""
    state.seq += 1
    match event:  # the most frequent first
        case ev.ModelStarted():
            _begin_step(state, event)
        case ev.ToolStarted() | ev.ToolCompleted():
            _apply_tool(state, event)
        case ev.ModelCompleted():
            compacting.learn(state.scale, state.open_step, event.usage)
            _end_step(state, event.seconds, event.usage)
            _settle(state)
            if event.parts:
                _say(state, AssistantMessage(event.parts))
            state.calls = [Call(part) for part in event.parts if isinstance(part, ToolCall)]
        case ev.ModelFailed():
            _end_step(state, event.seconds, event.usage)
        case ev.ApprovalRequested() | ev.ApprovalResolved():
            _apply_tool(state, event)
        case ev.SessionCreated():
            state.agent, state.spec, state.workspace = event.agent, bytes(event.spec), event.workspace
            state.family, state.tainted = event.family, event.tainted
        case ev.StateChanged():
            state.state, state.reason = event.state, event.reason
        case ev.InputReceived():
            _settle(state)
            scheduling.set_aside(state)
            _say(state, UserMessage((*compacting.news(state), *event.parts)))
        case ev.TurnStarted():
            state.turns = event.turn
            state.turn = Turn(event.turn, event.input, event.at)
            scheduling.begin(state)
            if state.entries:
                state.entries[-1].turn = event.turn
        case ev.TimerSet():
            state.timers[event.timer] = event.due
        case ev.TimerFired() | ev.TimerCleared():
            state.timers.pop(event.timer, None)
        case ev.ContextTrimmed():
            trim(state, event.dropped)
        case ev.ContextElided():
            compacting.elide(state, event)
        case ev.CompactionStarted():
            state.compacting = event.attempt
        case ev.ContextCompacted():
            _spend(state, event.usage)
            compacting.compact(state, event)
        case ev.ContextPinned():
            compacting.pin(state, event)
        case ev.TurnCompleted():
            _settle(state)
            scheduling.end(state, event)
            state.seconds += event.seconds
            _close(state)
        case ev.SessionRolledBack() | ev.SessionForked():
            _close(state)
            checkpoint_state.take_travel(state, event)
        case ev.CheckpointMade() | ev.CheckpointDropped():
            checkpoint_state.take_checkpoint(state, event)
        case ev.WorkspaceSaved():
            _apply_saved(state, event)
        case ev.WorkspaceRestored():
            _apply_restored(state, event)
        case ev.WorkspaceUnsaved():
            state.unsaved = None if event.lost else event.reason
        case ev.ModelLost():
            _spend(state, event.usage)
        case ev.SessionTainted():
            state.tainted = event.by
        case ev.ControlApplied():
            state.tainted = None if event.action == "trust" else state.tainted
            state.compact = state.compact or event.action == "compact"
        case ev.PolicyDecided():
            _apply_policy(state, event)
        case ev.MemoryChanged():
            take_changed(state, event)
        case ev.MemoryRecalled():
            take_recalled(state, event)
        case ev.EnvironmentNoted():
            take_noted(state, event)
        case ev.ConsolidationStarted():
            state.consolidating = event.attempt
        case ev.MemoryConsolidated():
            state.consolidated, state.consolidating = max(state.consolidated, event.upto), 0
            _spend(state, event.usage)
        case ev.ScheduleSet() | ev.ScheduleFired() | ev.ScheduleCleared():
            scheduling.take(state, event)
        case ev.ContextCleared():
            state.clear = True
        case ev.ModelNotice():
            compacting.doubt(state.open_step, event)
        case ev.ChildStarted() | ev.ChildHeld() | ev.ChildWaits() | ev.ChildEnded():
            lineage_state.take_child(state, event)
        case ev.JobStarted():
            state.jobs[event.job] = OpenJob(event.call, event.command, event.at, event.due, event.outside)
        case ev.JobEnded():
            state.jobs.pop(event.job, None)
        case ev.SessionMoved():
            state.spec = bytes(event.spec)
        case ev.SessionImported():
            _settle(state)
            scheduling.rejoin(state)
            take_imported(state)
            state.base = state.seq
        case ev.IntentChosen():
            intents.take_chosen(state, event)
        case ev.PlanChanged():
            plan_state.take_plan(state, event)
        case ev.LoopStalled():
            stalls.take_stalled(state, event)
        case ev.Emitted():
            pass
        case ev.SandboxChosen() | ev.SandboxLimit() | ev.SandboxEnded():
            pass
        case _:
            assert_never(event)


def trim(state: State, count: int) -> None:
    """Drop the oldest `count` messages, but never the one that began the open turn."""
    pinned = None if state.turn is None else state.turn.number
    kept: list[Entry] = []
    for place, entry in enumerate(state.entries):
        opens_turn = entry.turn == pinned and isinstance(entry.message, UserMessage)
        if count > 0 and not opens_turn:
            count -= 1
            state.tokens -= entry.tokens
            continue
        if count > 0:
            kept.append(entry)
            continue
        kept.extend(state.entries[place:])
        break
    state.entries = kept


def _close(state: State) -> None:
    _settle(state)
    scheduling.rejoin(state)
    state.turn, state.open_step, state.compacting = None, None, 0


def _begin_step(state: State, event: ev.ModelStarted) -> None:
    if state.open_step is None or state.open_step.step != event.step:
        state.steps = max(state.steps, event.step)
        if state.turn is not None:
            state.turn.steps += 1
    state.open_step = OpenStep(event.step, event.attempt, event.model, event.context)


def _end_step(state: State, seconds: float, usage: Usage | None) -> None:
    state.open_step = None
    if state.turn is not None:
        state.turn.seconds += seconds
    _spend(state, usage)


def _spend(state: State, usage: Usage | None) -> None:
    if usage is not None:
        state.usage += usage
        if state.turn is not None:
            state.turn.usage += usage


def _apply_policy(state: State, event: ev.PolicyDecided) -> None:
    _spend(state, event.usage)
    call = state.call(event.call) if event.call is not None else None
    if call is not None and event.arguments is not None and event.decision == "modify":
        call.changed, call.changed_by = event.arguments, event.by
    if event.decision == "deny" and event.on in ("input", "turn_start"):
        for entry in unheard(state):
            withheld = UserMessage((Text(f"[withheld: {event.reason}]"),))
            state.tokens += (tokens := estimate(withheld)) - entry.tokens
            entry.message, entry.tokens = withheld, tokens


def _apply_saved(state: State, event: ev.WorkspaceSaved) -> None:
    if event.point != "home":
        state.saved, state.unsaved = event.snapshot, None
    if event.point is not None:
        _point(state, event.snapshot, event.point)


def _apply_restored(state: State, event: ev.WorkspaceRestored) -> None:
    call = state.call(event.call) if event.call is not None else None
    if call is not None:
        call.undo, call.undone = None, event.error is None
    state.undo, state.source = None, None
    if event.error is None and event.snapshot is not None and state.points_in is not None:
        _point(state, event.snapshot, state.points_in)
    if event.error is None and state.points_in != "home":
        state.saved = event.snapshot


def _point(state: State, snapshot: str, where: Literal["home", "store"]) -> None:
    """Add the current content of the files as the newest undo point."""
    known = state.points if state.points_in == where else []
    state.points = [*(one for one in known[-POINTS:] if one != snapshot), snapshot][-POINTS:]
    state.points_in = where


_OPEN: dict[ev.Decision, CallStatus] = {"approve": "approved", "reject": "rejected", "modify": "approved"}


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
            if event.outcome != "ok" and call.undo is not None:
                state.undo = call.undo
            if state.turn is not None:
                state.turn.seconds += event.seconds
            if all(one.status == "done" for one in reversed(state.calls)):  # the last one is mostly the last to end
                stalls.record_step(state)
                _settle(state)
        case ev.ApprovalRequested():
            call.status, call.cause, call.reason = "asking", event.cause, event.reason
            call.asked, call.dangers, call.prefixes = state.seq, event.dangers, event.prefixes
        case ev.ApprovalResolved():
            call.status, call.reason = _OPEN[event.decision], event.note
            if event.scope is not None:
                state.grants += [one for one in event.always if one not in state.grants]
            if event.decision == "modify" and event.arguments is not None:
                call.changed, call.changed_by = event.arguments, PERSON


def _empty(outcome: ToolOutcome) -> str:
    return "(no output)" if outcome == "ok" else f"({outcome})"


def _settle(state: State) -> None:
    """Move the results of the newest calls into the context, in the order of the calls."""
    if state.calls:
        for call in state.calls:
            _say(state, call.result or stand_in(call), call.seq)
        state.calls = []


def _say(state: State, message: Message, seq: int = 0) -> None:
    tokens = estimate(message)
    state.entries.append(Entry(message, tokens, 0, seq))
    state.tokens += tokens
