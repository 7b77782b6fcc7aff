"""Detect that a small model repeats itself."""

from __future__ import annotations

from collections.abc import Sequence

from roost.log.content import AssistantMessage, Message, UserMessage

_PERIOD = 400
_COPIES = 8
_LENGTH = 300
_EVERY = 64


class RepetitionGuard:
    """Watches generated text. The model repeats itself when the text ends in at least 8 copies of the same piece that
    are together at least 300 characters long."""

    def __init__(self) -> None:
        self._tail = ""
        self._unseen = 0

    def circles(self, piece: str) -> bool:
        self._tail = (self._tail + piece)[-_PERIOD * _COPIES :]
        self._unseen += len(piece)
        if self._unseen < _EVERY:
            return False
        self._unseen = 0
        return any(self._ends_in_copies(period) for period in range(1, _PERIOD + 1))

    def _ends_in_copies(self, period: int) -> bool:
        copies = max(_COPIES, -(-_LENGTH // period))
        return self._tail.endswith(self._tail[-period:] * copies)


def is_stuck(messages: Sequence[Message]) -> bool:
    """Whether, since the user last spoke, the model made the same call twice in a row or three times in all."""
    made: list[tuple[str, str]] = []
    for message in messages:
        if isinstance(message, UserMessage):
            made.clear()
        elif isinstance(message, AssistantMessage):
            made += [(call.name, call.arguments) for call in message.calls]
    if not made:
        return False
    return made[-2:] == [made[-1]] * 2 or made.count(made[-1]) >= 3
