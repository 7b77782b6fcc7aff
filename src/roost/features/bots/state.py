"""Files that are sent to a chat change nothing of a session's state."""

from __future__ import annotations

from roost.agent.state import State
from roost.features.bots.events import FilesSent


def _sent(state: State, event: FilesSent) -> None:
    """Nothing folds from it."""


FOLDS = {FilesSent: _sent}
