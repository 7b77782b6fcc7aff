"""A replay, at the seams of the loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import cache
from typing import Any, Literal

import msgspec

from roost.agent.call_context import gate_call
from roost.agent.feature import CallStart, Draft, Feature, TurnEnd, all_features
from roost.agent.interrupts import Interrupted
from roost.agent.request_plan import tools_of
from roost.agent.session import Session
from roost.agent.state import Call
from roost.features.replay.differences import call_text, result_of
from roost.features.replay.playback import Playback
from roost.features.replay.played_log import PlayedLog
from roost.features.replay.record import Item, RecordedCall, canonical
from roost.log import events as ev
from roost.log.content import ErrorData
from roost.models.request import Completed, Failed, Model, ModelEvent, Profile, Request
from roost.tools.base import Tool, Toolbox

_GATE = frozenset({"roost", "user", "config", "project", "system", "level", "agents", "default"})
"""Layers that decide by the call alone. A person's standing rules and the classifier do not count in a replay."""


def log_of(session: Session) -> PlayedLog:
    assert isinstance(session.log, PlayedLog)
    return session.log


class RecordedModel:
    """Give the recorded answers, step by step."""

    def __init__(self, session: Session) -> None:
        self._playback = session.own(Playback)
        self.profile = Profile()

    @property
    def name(self) -> str:
        step = self._playback.step
        return "recorded" if step is None else step.started.model

    async def stream(self, request: Request) -> AsyncIterator[ModelEvent]:
        step = self._playback.step
        if step is None or step.answer is None or self._playback.found is not None:
            yield Failed(ErrorData("replay_ended", "the replay has ended"), sent=False)
        else:
            yield Completed(step.answer.parts, step.answer.stop, step.answer.usage)

    async def close(self) -> None:
        return None


class Player(Feature):
    """Take from the record what happened outside, and the model's answers and the outcomes of calls."""

    def due(self, session: Session) -> bool:
        return session.own(Playback).due

    async def between_steps(self, session: Session) -> None:
        playback = session.own(Playback)
        if playback.due:
            for item in playback.between():
                log_of(session).copy(item)
                if isinstance(item.event, ev.TurnCompleted):
                    playback.outcome = item.event.outcome

    async def before_model(self, session: Session) -> Literal["again"] | TurnEnd | None:
        playback = session.own(Playback)
        if playback.found is not None:
            raise Interrupted("shutdown")
        if playback.over and not playback.options.modelled:
            turn = playback.turn
            end = "" if turn is None else turn.completed.outcome
            raise playback.stop("end", "the model is called again, where the turn ended", recorded=end, now="goes on")
        await playback.advance()
        return None

    def model(self, session: Session) -> Model | None:
        return None if session.own(Playback).options.modelled else session.own(RecordedModel)

    async def after_model(self, session: Session, outcome: Completed | Failed) -> Completed | Failed:
        step = session.own(Playback).step
        for item in () if step is None else step.within:
            log_of(session).copy(item)
        return outcome

    async def before_calls(self, session: Session) -> None:
        """Judge all calls of the answer before the first has its outcome, as the loop does: a result may taint the
        session, which makes the gate stricter."""
        planned = [call for call in session.state.calls if call.status == "planned"]
        for call, recorded in [(call, _judged(session, call)) for call in planned]:
            _play(session, call, recorded)

    async def before_gate(self, session: Session, call: Call, tool: Tool) -> bool:
        """Let only live calls pass. All others have their outcome already."""
        playback = session.own(Playback)
        if call.call.id not in playback.running:
            raise _stray(playback, call)
        return True

    async def before_call(self, session: Session, start: CallStart) -> None:
        """Let nothing else run: the events of a mangled log may put a call into any state, as one that was approved."""
        playback = session.own(Playback)
        if start.call.call.id not in playback.running:
            raise _stray(playback, start.call)


class RequestShape(Feature):
    """Ask the features of the session how its requests look, and what becomes of a failed one; nothing else."""

    def tools(self, session: Session) -> Toolbox | None:
        chosen = (one.tools(session) for one in _shaping("tools") if one.used(session))
        return next((one for one in chosen if one is not None), None)

    def answer_schema(self, session: Session) -> dict[str, Any] | None:
        chosen = (one.answer_schema(session) for one in _shaping("answer_schema") if one.used(session))
        return next((one for one in chosen if one is not None), None)

    def shape(self, session: Session, draft: Draft) -> None:
        for one in _shaping("shape"):
            if one.used(session):
                one.shape(session, draft)

    def spent(self, session: Session) -> None:
        for one in _shaping("spent"):
            one.spent(session)


@cache
def _shaping(seam: str) -> tuple[Feature, ...]:
    return tuple(one for one in all_features() if getattr(type(one), seam) is not getattr(Feature, seam))


CAST = (Player(), RequestShape())
"""The features that a replay asks."""


def _stray(playback: Playback, call: Call) -> Interrupted:
    name = call.call.name
    return playback.stop("call", f"{name} is not in the record", now=call_text(name, call.arguments))


def _judged(session: Session, call: Call) -> RecordedCall:
    """Return the recorded call. Raises `Interrupted` if there is none, or if the gate decides otherwise about it."""
    playback = session.own(Playback)
    recorded = playback.take(canonical(call.call.name, call.call.arguments))
    if recorded is None:
        raise _unknown(playback, call)
    _judge(session, call, recorded)
    if _live(playback, recorded):
        _permit(session, call, recorded)
    return recorded


def _live(playback: Playback, recorded: RecordedCall) -> bool:
    """Whether a call runs, instead of taking its recorded outcome. Of a log that may have been written by hand those
    run that the gate allows by itself."""
    outcome = recorded.outcome
    ran = recorded.started is not None and outcome is not None and outcome.outcome in ("ok", "error")
    needs_others = playback.options.checked or recorded.decided
    return (
        recorded.call.name in playback.live
        and ran
        and not recorded.featured
        and not (needs_others and _doubted(playback))
    )


def _doubted(playback: Playback) -> bool:
    step = playback.step
    return step is None or step.seq <= playback.options.doubted


def _permit(session: Session, call: Call, recorded: RecordedCall) -> None:
    """Ask the gate about a call that is going to run, whatever the record says of it. Where the gate would ask, the
    recorded approval counts. In a log that may have been written by hand, neither approvals nor standing rules count.
    Raises `Interrupted`."""
    playback, tool = session.own(Playback), tools_of(session).get(call.call.name)
    if tool is None:
        raise _other(playback, recorded, "ran", "unknown: the agent has no such tool")
    judged, doubted = gate_call(session, call, tool), _doubted(playback)
    verdict = session.means.gate.decide(msgspec.structs.replace(judged, grants=()) if doubted else judged)
    if verdict.decision == "deny" or (verdict.decision == "ask" and doubted):
        raise _other(playback, recorded, "ran", f"{verdict.decision} ({verdict.why})")


def _play(session: Session, call: Call, recorded: RecordedCall) -> None:
    """Give a call its recorded outcome, or let it run if it is live. Raises `Interrupted` if it has none."""
    playback, name, arguments = session.own(Playback), call.call.name, call.call.arguments
    playback.calls.append(name)
    live = _live(playback, recorded)
    for item in recorded.items:
        if live and isinstance(item.event, ev.ToolStarted):
            break
        log_of(session).copy(item, _renamed(item, recorded.call.id, call.call.id))
    if live:
        playback.running[call.call.id] = recorded
    elif call.status != "done":
        raise playback.stop("end", f"the record has no outcome of {name}", recorded=call_text(name, arguments))


def _renamed(item: Item, before: str, now: str) -> ev.Event:
    """Return an event as one of another call."""
    event: Any = item.event
    if before == now or getattr(event, "call", None) != before:
        return event
    return msgspec.structs.replace(event, call=now)


def _unknown(playback: Playback, call: Call) -> Interrupted:
    """Say what was recorded in place of a call: the next call of its tool, or the next one."""
    left = playback.left
    same = [one for one in left if one.call.name == call.call.name]
    meant = (same or left or [None])[0]
    before = "" if meant is None else call_text(meant.call.name, meant.call.arguments)
    now = call_text(call.call.name, call.call.arguments)
    summary = f"a call of {call.call.name} that is not in the record"
    at = meant.items[0].seq if meant is not None and meant.items else None
    return playback.stop("call", summary, recorded=before, now=now, at=at)


def _judge(session: Session, call: Call, recorded: RecordedCall) -> None:
    """Ask the gate again. Raises `Interrupted` if it decides otherwise than in the record."""
    playback, name = session.own(Playback), call.call.name
    before, why = _decided(recorded)
    tool = tools_of(session).get(name)
    step = playback.step
    if name in playback.dynamic or before is None or (step is not None and step.seq < playback.options.own):
        return
    if tool is None:
        if name in playback.gone and before != "unknown":
            raise _other(playback, recorded, before, "unknown: the agent has no such tool any more")
        return
    verdict = session.means.gate.decide(gate_call(session, call, tool))
    if verdict.decision == before or (why and why.partition(":")[0] not in _GATE):
        return
    raise _other(playback, recorded, f"{before} ({why})" if why else before, f"{verdict.decision} ({verdict.why})")


def _other(playback: Playback, recorded: RecordedCall, before: str, now: str) -> Interrupted:
    text = call_text(recorded.call.name, recorded.call.arguments)
    return playback.stop(
        "gate",
        f"the gate decides otherwise about {recorded.call.name}: {now}",
        recorded=f"{before}\n{text}",
        now=f"{now}\n{text}",
        at=recorded.items[0].seq if recorded.items else None,
    )


def _decided(recorded: RecordedCall) -> tuple[str | None, str]:
    """Return what was decided of a recorded call, and by what. None: nothing that a replay could decide again."""
    outcome = recorded.outcome
    if recorded.judged:
        return None, ""
    if recorded.asked is not None:
        return "ask", recorded.asked.why or ""
    if recorded.started is not None:
        return "allow", recorded.started.why or ""
    if outcome is not None and outcome.outcome == "denied":
        return "deny", outcome.why or ""
    text = "" if outcome is None else result_of("", outcome.parts, None)
    return ("unknown", "") if text.startswith(f"\nthere is no tool {recorded.call.name!r}") else (None, "")
