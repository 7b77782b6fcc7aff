"""Fold an imported session and close it: work in progress when it was written is closed as after a crash, and nothing
of it runs here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from roost.agent.outcomes import UNKNOWN_EFFECT
from roost.agent.rewind import Folding
from roost.agent.state import Call, State, encode_state
from roost.errors import Invalid
from roost.features.exchange import native_format
from roost.features.exchange.conversation_items import Source
from roost.log import events as ev
from roost.log.content import ErrorData, Text

IMPORT = "import"
"""Taint of an imported session: its content is untrusted."""
_WHY = "the session was exported while this was under way"


class Folded:
    """Fold a file in Roost's format, with each event passed through `pin`: state snapshots at `marks`, the state at the
    end, and the highest number of an input. Blocks. Raises `Invalid` with a line's number."""

    def __init__(self, path: Path, marks: list[native_format.Mark], pin: Callable[[ev.Event], ev.Event]) -> None:
        wanted = {event.to for _, event in native_format.events_of(path) if isinstance(event, ev.SessionRolledBack)}
        folding = Folding(State(), wanted)
        positions = {mark.seq for mark in marks}
        self.marked: dict[int, bytes] = {}
        self.inputs = 0
        self.head = 0
        for number, event in native_format.events_of(path):
            self.head += 1
            if isinstance(event, ev.SessionRolledBack) and not 0 < event.to < self.head:
                raise Invalid(f"line {number} goes back to event {event.to}, which is not before it", code="bad_line")
            folding.add(pin(event))
            self.inputs = max(self.inputs, getattr(event, "input", None) or 0)
            if self.head in positions:
                self.marked[self.head] = encode_state(folding.state)
        self.folding = folding

    @property
    def state(self) -> State:
        return self.folding.state


def closing(state: State, source: str, format: Source) -> Iterator[ev.Event]:
    """Yield the events that close an imported log. Fold each before asking for the next."""
    now = time.time()
    if (step := state.open_step) is not None:
        yield ev.ModelFailed(at=now, step=step.step, error=ErrorData("interrupted", _WHY))
    for call in list(state.calls):
        if call.status != "done":
            yield _given_up(call, now)
    if (turn := state.turn) is not None:
        answered = state.answered
        yield ev.TurnCompleted(
            at=now,
            turn=turn.number,
            outcome="answered" if answered else "cancelled",
            reason=None if answered else "imported",
            steps=turn.steps,
            usage=turn.usage,
        )
    yield ev.SessionImported(at=now, source=source, format=format)
    yield ev.SessionTainted(at=now, by=IMPORT)
    if state.state not in ("created", "running"):
        yield ev.StateChanged(at=now, state="running", reason="imported")


def _given_up(call: Call, now: float) -> ev.ToolCompleted:
    unknown = call.attempt > 0 and call.replay != "safe"
    text = UNKNOWN_EFFECT if unknown else f"[not run: {_WHY}]"
    outcome = "interrupted" if call.attempt else "skipped"
    return ev.ToolCompleted(at=now, call=call.call.id, outcome=outcome, parts=(Text(text),))
