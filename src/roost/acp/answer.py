"""The answer in progress, as pieces that an editor cannot take back."""

from __future__ import annotations

from typing import Literal, TypeAlias

from roost.log import events as ev
from roost.log.content import Text, Thinking
from roost.log.frames import Delta

Kind: TypeAlias = Literal["text", "thinking"]


class AnswerPieces:
    """Returns what is new of a step's answer. When an answer begins again after a part of it was given, the rest comes
    with its end, and whole if it differs."""

    def __init__(self) -> None:
        self._step, self._after = 0, 0
        self._given: dict[str, str] = {}
        self._held = False
        self._done = 0

    def hear(self, delta: Delta) -> tuple[Kind, str] | None:
        """Return the piece of a delta that was not given yet."""
        if delta.kind == "call" or delta.step <= self._done:
            return None
        if delta.step != self._step:
            self._step, self._after, self._given, self._held = delta.step, delta.after, {}, False
        elif delta.after != self._after:
            self._after = delta.after
            self.restart()
        given = self._given.get(delta.kind, "")
        if self._held or delta.offset > len(given):
            return None
        return self._give(delta.kind, delta.text[len(given) - delta.offset :])

    def restart(self) -> None:
        """The step's answer begins again."""
        self._held = self._held or any(self._given.values())

    def complete(self, event: ev.ModelCompleted) -> list[tuple[Kind, str]]:
        """Return what the deltas have left out: all of it for a reader that came late."""
        given = self._given if event.step == self._step else {}
        thought = "".join(part.text for part in event.parts if isinstance(part, Thinking))
        said = "".join(part.text for part in event.parts if isinstance(part, Text))
        found = [self._rest("thinking", thought, given), self._rest("text", said, given)]
        self._done, self._given, self._held = event.step, {}, False
        return [piece for piece in found if piece is not None]

    def _rest(self, kind: Kind, whole: str, given: dict[str, str]) -> tuple[Kind, str] | None:
        before = given.get(kind, "")
        rest = whole[len(before) :] if whole.startswith(before) else "\n\n" + whole
        return (kind, rest) if rest else None

    def _give(self, kind: Kind, text: str) -> tuple[Kind, str] | None:
        if not text:
            return None
        self._given[kind] = self._given.get(kind, "") + text
        return kind, text
