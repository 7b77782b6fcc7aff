"""Hints for the model that go with a tool result."""

from __future__ import annotations

from roost.agent.state import State
from roost.log.content import Text, ToolMessage


class Hints:
    """Hints that the next tool result carries."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._waiting: list[Text] = []

    def add(self, text: str) -> None:
        """Add a hint, unless a result in the model's context has it already."""
        hint = Text(text)
        results = (entry.message for entry in self._state.entries if isinstance(entry.message, ToolMessage))
        if not any(hint in result.parts for result in results):
            self._waiting.append(hint)

    def take(self) -> tuple[Text, ...]:
        """Remove the waiting hints and return them."""
        if not self._waiting:
            return ()
        waiting, self._waiting = self._waiting, []
        return tuple(waiting)
