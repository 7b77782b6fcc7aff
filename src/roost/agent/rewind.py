"""Going back in a log: what a session's state becomes, and folding logs in which that happened."""

from __future__ import annotations

from collections.abc import Iterable

from roost.agent.fold import apply
from roost.agent.state import State, decode_state, encode_state
from roost.log import events as ev

_OF_THEN = ("entries", "tokens", "tainted", "pins", "unsaid", "summary", "consolidated", "plan", "seen", "grants")
"""With the grants of a person: a later one was given for what has been undone. Counters, usage, timers, checkpoints and
the snapshots of files are those of now: they never go back."""


def rewind(now: State, then: State) -> None:
    """The meaning of `session.rolled_back`, which `now` has taken in: the conversation of `then`, closed as at a turn's
    end. `then` is used up."""
    apply(then, ev.TurnCompleted(at=0.0, turn=then.turns, outcome="cancelled"))
    for name in _OF_THEN:
        setattr(now, name, getattr(then, name))


class Folding:
    """Folds a log event by event, from `state` on. `wanted` are the positions that later events go back to, as far as
    they come after it: what it was there is kept."""

    def __init__(self, state: State, wanted: Iterable[int]) -> None:
        self.state = state
        self._wanted = frozenset(wanted)
        self._past: dict[int, bytes] = {}
        self._keep()

    def knows(self, seq: int) -> bool:
        return seq in self._past

    def add(self, event: ev.Event, then: State | None = None) -> None:
        """`then`: where `event` goes back to, if that is not known here."""
        apply(self.state, event)
        if isinstance(event, ev.SessionRolledBack):
            past = self._past.get(event.to)
            found = then if past is None else decode_state(past)
            if found is not None:
                rewind(self.state, found)
        self._keep()

    def _keep(self) -> None:
        if self.state.seq in self._wanted:
            self._past[self.state.seq] = encode_state(self.state)


def gone_back_to(events: Iterable[ev.Event]) -> set[int]:
    """Positions, for `Folding`."""
    return {event.to for event in events if isinstance(event, ev.SessionRolledBack)}
