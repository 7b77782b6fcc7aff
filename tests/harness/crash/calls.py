"""What must hold of a session's tool calls, by its log and by what the witness saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
from tests.harness.crash.witness import Effect

from roost.agent.speculation import NAMELESS
from roost.agent.state import result_text
from roost.log import events as ev
from roost.log.content import AssistantMessage

NOTE = "note-"
"""How a line begins that a command leaves in the file of notes, which grows."""


class _Call(msgspec.Struct):
    attempts: int = 0
    keys: set[str] = msgspec.field(default_factory=set[str])
    outcome: str | None = None
    asked: bool = False
    approved: bool = False


def call_problems(events: Iterable[ev.Event], effects: Sequence[Effect], *, settled: bool) -> list[str]:
    """The promises of tool calls that are broken, in words. While the session lives, read `effects` before the log: an
    effect without an intent is then a fault, and an effect that is not there yet is none."""
    found: list[str] = []
    calls: dict[str, _Call] = {}
    for event in events:
        match event:
            case ev.ModelCompleted():
                for call in AssistantMessage(event.parts).calls:
                    if call.id in calls:
                        found.append(f"the call id {call.id!r} came twice")
                    calls[call.id] = _Call()
            case ev.ToolStarted():
                found += _started(event, calls.setdefault(event.call, _Call()))
            case ev.ToolCompleted():
                found += _completed(event, calls.setdefault(event.call, _Call()))
            case ev.ApprovalRequested():
                calls.setdefault(event.call, _Call()).asked = True
            case ev.ApprovalResolved():
                call = calls.setdefault(event.call, _Call())
                if not call.asked:
                    found.append(f"call {event.call} was answered though nothing was asked")
                call.asked, call.approved = False, event.decision != "reject"
            case _:
                pass
    if settled:
        found += [f"call {name} has no outcome" for name, call in calls.items() if call.outcome is None]
        found += _unfinished(calls, effects)
    return found + _effects(calls, effects)


def _started(event: ev.ToolStarted, call: _Call) -> list[str]:
    found: list[str] = []
    if call.outcome is not None:
        found.append(f"call {event.call} ran again after its end")
    call.attempts += 1
    call.keys.add(event.key)
    if event.attempt != call.attempts:
        found.append(f"call {event.call}: attempt {event.attempt} is its {call.attempts}.")
    if call.asked:
        found.append(f"call {event.call} ran while it waited for a person")
    if call.attempts > 1 and event.replay == "never":
        found.append(f"call {event.call} of {event.name} ran again, and its rule is never")
    if call.attempts > 1 and event.replay == "ask" and not call.approved:
        found.append(f"call {event.call} of {event.name} ran again without approval")
    if len(call.keys) > 1:
        found.append(f"call {event.call} has several keys: {sorted(call.keys)}")
    call.approved = False
    return found


def _completed(event: ev.ToolCompleted, call: _Call) -> list[str]:
    found: list[str] = []
    if call.outcome is not None:
        found.append(f"call {event.call} ended twice")
    if call.attempts and result_text(event.parts).startswith("[not run:"):
        found.append(f"the model was told that call {event.call} did not run, and it began")
    call.outcome = event.outcome
    return found


def _needs_no_intent(effect: Effect, calls: dict[str, _Call]) -> bool:
    """Whether a call only read, before the answer was complete: it has no name yet, or one by an intent that the store
    did not get any more. The call of that name is another one then, with a key of its own."""
    if effect.call.startswith(NAMELESS):
        return True
    early = effect.tool == "look" and effect.key.rpartition(":")[2].startswith(NAMELESS)
    call = calls.get(effect.call)
    return early and call is not None and effect.key not in call.keys


def _effects(calls: dict[str, _Call], effects: Sequence[Effect]) -> list[str]:
    found: list[str] = []
    effects = [effect for effect in effects if not _needs_no_intent(effect, calls)]
    began = Counter((effect.call, effect.attempt) for effect in effects if effect.kind == "began")
    keys = {effect.key: effect.call for effect in effects}
    for (name, attempt), count in began.items():
        call = calls.get(name)
        if call is None or attempt > call.attempts:
            found.append(f"call {name}: attempt {attempt} had an effect before its intent was in the log")
        if count > 1:
            found.append(f"call {name}: attempt {attempt} had its effect {count} times")
    for effect in effects:
        call = calls.get(effect.call)
        if call is not None and effect.key not in call.keys:
            found.append(f"call {effect.call}: the key {effect.key!r} is not the log's")
        if keys[effect.key] != effect.call:
            found.append(f"the key {effect.key!r} was used for two calls")
    never = Counter(effect.call for effect in effects if effect.tool == "never_effect" and effect.kind == "began")
    found += [f"call {name} of never_effect had its effect {count} times" for name, count in never.items() if count > 1]
    return found


def file_problems(events: Iterable[ev.Event]) -> list[str]:
    """Each finished call that shows the notes in the session's files shows those of every one before it."""
    known: list[str] = []
    for event in events:
        if isinstance(event, ev.ToolCompleted) and event.outcome == "ok":
            notes = [line for line in result_text(event.parts).splitlines() if line.startswith(NOTE)]
            if notes and notes[: len(known)] != known:
                return [f"call {event.call} found the notes {notes}; {known} were there before"]
            known = notes or known
    return []


def _unfinished(calls: dict[str, _Call], effects: Sequence[Effect]) -> list[str]:
    tools = {effect.call for effect in effects}
    done = {effect.call for effect in effects if effect.kind == "done"}
    return [
        f"call {name} succeeded by the log, and its effect was never finished"
        for name, call in calls.items()
        if call.outcome == "ok" and name in tools and name not in done
    ]
