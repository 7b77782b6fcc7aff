"""Rollback of a session's state, and folding of logs that contain rollbacks."""

from __future__ import annotations

from collections.abc import Iterable

from roost.agent.fold import apply
from roost.agent.state import State, decode_state, encode_state
from roost.log import events as ev

_OF_THEN = ("entries", "tokens", "tainted", "seen")
"""Fields that a rollback restores, besides those of parts (`StatePart.restored`). Counters, usage and timers keep their
present values."""


def rewind(now: State, then: State) -> None:
    """Apply `session.rolled_back`, which `now` has folded: restore the conversation of `then`, with its turn closed.
    `then` is consumed."""
    apply(then, ev.TurnCompleted(at=0.0, turn=then.turns, outcome="cancelled"))
    for name in _OF_THEN:
        setattr(now, name, getattr(then, name))
    # A rollback takes grants back, since later ones were given for work that is undone. It gives none: a person may
    # have revoked one since, and a fork has none of its source.
    now.grants = [one for one in now.grants if one in then.grants]
    for kind, part in now.parts.items():
        for name in kind.restored:
            setattr(part, name, getattr(then.parts[kind], name))


class Folding:
    """Fold a log event by event, starting at `state`. wanted: positions that later events roll back to; the state at
    each is kept if the fold passes it."""

    def __init__(self, state: State, wanted: Iterable[int]) -> None:
        self.state = state
        self._wanted = frozenset(wanted)
        self._past: dict[int, bytes] = {}
        self._keep()

    def knows(self, seq: int) -> bool:
        return seq in self._past

    def add(self, event: ev.Event, then: State | None = None) -> None:
        """Apply an event. then: the state that it rolls back to, if that position was not passed here."""
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
    """Return the positions that rollbacks in `events` go back to, for `Folding`."""
    return {event.to for event in events if isinstance(event, ev.SessionRolledBack)}
