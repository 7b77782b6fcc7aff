"""Fold a change of the agent's version into a session's state."""

from __future__ import annotations

from roost.agent.state import State
from roost.features.upgrades.events import SessionMoved


def _moved(state: State, event: SessionMoved) -> None:
    state.spec = bytes(event.spec)


FOLDS = {SessionMoved: _moved}
