"""Fold a change of the agent's version into a session's state."""

from __future__ import annotations

from roost.agent.state import State
from roost.log import events as ev


def _moved(state: State, event: ev.SessionMoved) -> None:
    state.spec = bytes(event.spec)


FOLDS = {ev.SessionMoved: _moved}
