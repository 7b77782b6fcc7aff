"""The recorded answers of a run, each of which the agent gets once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from roost.features.frameworks.digests import Digests
from roost.features.frameworks.state import Answer
from roost.log.content import ToolCall


class Slot:
    """A recorded answer. claimed: the agent's program has it."""

    __slots__ = ("answer", "claimed")

    def __init__(self, answer: Answer, claimed: bool = False) -> None:
        self.answer, self.claimed = answer, claimed


class Found(NamedTuple):
    """slot: of the answer. drifted: only volatile texts of the instructions differ."""

    slot: Slot
    drifted: bool


class Records:
    """The answers of one start of the agent's program. An answer is found by its scope and digest; equal ones are given
    in the order in which they were recorded."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self._slots = [Slot(answer) for answer in answers]
        self.calls = {call for answer in answers for call in _calls_of(answer)}
        """The ids of the calls for which the answers ask."""

    def find(self, scope: str, digests: Digests) -> Found | None:
        """Return the next answer for a request, if one is recorded that the program has not got."""
        mine = [slot for slot in self._slots if slot.answer.scope == scope and not slot.claimed]
        for slot in mine:
            if slot.answer.digest == digests.whole:
                return Found(slot, False)
        return next((Found(slot, True) for slot in mine if slot.answer.masked == digests.masked), None)

    def add(self, answer: Answer, *, claimed: bool) -> None:
        """Add an answer that was recorded just now."""
        self._slots.append(Slot(answer, claimed))
        self.calls.update(_calls_of(answer))

    @property
    def unclaimed(self) -> list[Answer]:
        """The answers that the program has not got."""
        return [slot.answer for slot in self._slots if not slot.claimed]


def _calls_of(answer: Answer) -> list[str]:
    return [part.id for part in answer.parts if isinstance(part, ToolCall)]
