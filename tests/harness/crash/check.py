"""What must hold of a session after any number of crashes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tests.harness.crash.calls import call_problems, file_problems
from tests.harness.crash.witness import Effect

from roost.agent.fold import apply
from roost.agent.rewind import Folding, gone_back_to
from roost.agent.state import STATE_VERSION, State, decode_state, encode_state, transcript
from roost.log import events as ev
from roost.log.content import AssistantMessage, Text
from roost.log.protocols import Record, Snapshot
from roost.log.session_info import InputMode
from roost.log.store import Store
from roost.testing.transcript import check_transcript

_PAGE = 1000


class Sent(NamedTuple):
    """A message that the API said it accepted, under the number that it gave."""

    session: str
    input: int
    text: str
    mode: InputMode = "follow_up"


async def check(
    journal: Store,
    session: str,
    *,
    sent: Sequence[Sent] = (),
    effects: Sequence[Effect] = (),
    settled: bool = False,
    timers: Iterable[str] = (),
) -> None:
    """Raises `AssertionError` that lists every promise that is broken. `settled`: everything was given time to end, so
    that nothing may be left open. `timers` names those that were set."""
    found = await problems(journal, session, sent=sent, effects=effects, settled=settled, timers=timers)
    if found:
        raise AssertionError(f"session {session!r}:\n  " + "\n  ".join(found))


async def problems(
    journal: Store,
    session: str,
    *,
    sent: Sequence[Sent] = (),
    effects: Sequence[Effect] = (),
    settled: bool = False,
    timers: Iterable[str] = (),
) -> list[str]:
    """As `check`; the broken promises in words."""
    records: list[Record] = []
    while page := await journal.logs.read(session, after=len(records), limit=_PAGE):
        records.extend(page)
    events = [record.event for record in records]
    snapshot = await journal.logs.snapshot(session)
    found = [
        *_sequence(records),
        *_fold(records, events, snapshot),
        *_transcripts(events, every=settled),
        *_steps(events),
        *call_problems(events, [effect for effect in effects if effect.session == session], settled=settled),
        *file_problems(events),
        *_inputs(events, [one for one in sent if one.session == session], settled=settled),
        *_turns(events, settled=settled),
        *_timers(events, timers, settled=settled),
    ]
    if settled:
        found += await _rest(journal, session, len(records))
    return found


def _sequence(records: Sequence[Record]) -> list[str]:
    numbers = [record.seq for record in records]
    return [] if numbers == list(range(1, len(numbers) + 1)) else [f"the log's numbers have gaps: {numbers}"]


def _fold(records: Sequence[Record], events: Sequence[ev.Event], snapshot: Snapshot | None) -> list[str]:
    if snapshot is None or snapshot.version != STATE_VERSION or snapshot.seq > len(records):
        return []
    whole, short = Folding(State(), gone_back_to(events)), decode_state(snapshot.body)
    for place, event in enumerate(events, 1):
        whole.add(event)
        if place > snapshot.seq:
            apply(short, event)
    same = encode_state(whole.state) == encode_state(short)
    return [] if same else [f"the snapshot at {snapshot.seq} and its tail are not the fold of the whole log"]


def _transcripts(events: Sequence[ev.Event], *, every: bool) -> list[str]:
    """With `every`, of every prefix of the log; else of the whole."""
    folding = Folding(State(), gone_back_to(events))
    for place, event in enumerate(events, 1):
        folding.add(event)
        if (every and len(events) <= 300) or place == len(events):
            try:
                check_transcript(transcript(folding.state))
            except AssertionError as error:
                return [f"a provider refuses the transcript at event {place}: {error}"]
    return []


def _steps(events: Sequence[ev.Event]) -> list[str]:
    found: list[str] = []
    attempts: dict[int, int] = {}
    ended: set[int] = set()
    for event in events:
        match event:
            case ev.ModelStarted(step=step):
                if step in ended:
                    found.append(f"model step {step} ran again after its end")
                attempts[step] = attempts.get(step, 0) + 1
                if event.attempt != attempts[step]:
                    found.append(f"model step {step}: attempt {event.attempt} is its {attempts[step]}.")
            case ev.ModelCompleted(step=step) | ev.ModelFailed(step=step):
                if step in ended or step not in attempts:
                    found.append(f"model step {step} ended {'twice' if step in ended else 'without an intent'}")
                ended.add(step)
            case _:
                pass
    return found


def _inputs(events: Sequence[ev.Event], sent: Sequence[Sent], *, settled: bool) -> list[str]:
    found = [f"the input {one} was given out twice" for one, n in Counter(s.input for s in sent).items() if n > 1]
    received = Counter(event.input for event in events if isinstance(event, ev.InputReceived))
    texts = {event.input: _text(event) for event in events if isinstance(event, ev.InputReceived)}
    found += [f"input {one} was taken in {count} times" for one, count in received.items() if count > 1]
    for one in sent:
        if one.input not in received:
            if settled:
                found.append(f"input {one.input} ({one.text[-80:]!r}) was accepted and never taken in")
        elif texts[one.input] != one.text:
            found.append(f"input {one.input} was {one.text[-80:]!r} and became {texts[one.input][-80:]!r}")
    return found


def _turns(events: Sequence[ev.Event], *, settled: bool) -> list[str]:
    """One turn after the other, each with one end; an answer answers what was said last."""
    found: list[str] = []
    number, is_open, said, answer = 0, False, "", ""
    last_control: str | None = None
    for place, event in enumerate(events):
        match event:
            case ev.TurnStarted():
                if is_open or event.turn != number + 1:
                    found.append(
                        f"turn {event.turn} began after turn {number}, which is {'' if is_open else 'not '}open"
                    )
                number, is_open, answer = event.turn, True, ""
                if not any(isinstance(one, ev.ControlApplied) for one in events[max(0, place - 3) : place]):
                    last_control = None  # else it is a cancel that came before the turn which it means
            case ev.TurnCompleted():
                found += _end(event, number, is_open, said, answer, last_control)
                is_open = False
            case ev.InputReceived():
                said, answer = _text(event), ""
            case ev.ModelCompleted():
                answer = AssistantMessage(event.parts).text
            case ev.ControlApplied():
                last_control = event.action
            case _:
                pass
    return [*found, f"turn {number} never ended"] if settled and is_open else found


def _end(event: ev.TurnCompleted, number: int, is_open: bool, said: str, answer: str, control: str | None) -> list[str]:
    if not is_open or event.turn != number:
        return [f"turn {event.turn} ended while turn {number} was {'' if is_open else 'not '}open"]
    if event.outcome == "answered":
        fits = "#" + said.rpartition("#")[2] in answer
        return [] if fits else [f"turn {number}: {said[-80:]!r} was answered with {answer[-80:]!r}"]
    if event.outcome == "cancelled" and control in ("cancel", "stop"):
        return []
    return [f"turn {number} ended as {event.outcome}: {event.reason}"]


def _timers(events: Sequence[ev.Event], timers: Iterable[str], *, settled: bool) -> list[str]:
    fired = Counter(event.timer for event in events if isinstance(event, ev.TimerFired))
    found = [f"the timer {name!r} fired {count} times" for name, count in fired.items() if count > 1]
    return found + [f"the timer {name!r} never fired" for name in timers if settled and name not in fired]


async def _rest(journal: Store, session: str, records: int) -> list[str]:
    """Compare the index with what it is an index of, at a moment at which nobody writes: a session that is done may
    still save its files before it sleeps."""
    before, pending = None, 0
    while (info := await journal.sessions.get(session)) != before:
        before = info
        records += len(await journal.logs.read(session, after=records, limit=_PAGE))
        pending = len(await journal.inboxes.pending(session))
    found: list[str] = []
    if info.head != records:
        found.append(f"the index says {info.head} events, the log has {records}")
    if info.pending or pending:
        found.append(f"the inbox holds {pending} inputs, the index says {info.pending}")
    if info.phase != "idle":
        found.append(f"the session is {info.state}, {info.phase}")
    return found


def _text(event: ev.InputReceived) -> str:
    return "".join(part.text for part in event.parts if isinstance(part, Text))
