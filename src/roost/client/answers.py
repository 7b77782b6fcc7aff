"""The answer to a message, found in a session's stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

from roost.client.frames import StreamItem
from roost.log import events as ev
from roost.log.content import AssistantMessage, Usage
from roost.log.frames import Delta, Progress, TextPieces
from roost.log.session_info import Decision, TurnOutcome
from roost.log.session_views import WaitingCall

Decide: TypeAlias = Callable[[WaitingCall], Awaitable[Decision | None]]
SyncDecide: TypeAlias = Callable[[WaitingCall], Decision | None]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """How the turn of a message ended. `outcome`: `answered`, or why there is no answer, with the `reason`. A session
    that is stopped or failed first counts as `failed`."""

    text: str
    outcome: TurnOutcome
    reason: str | None = None
    steps: int = 0
    usage: Usage = Usage()


class Answering:
    """Watches a stream for the end of the turn that takes the input `number` in."""

    def __init__(self, number: int, on_delta: Callable[[str], None]) -> None:
        self._number, self._on_delta = number, on_delta
        self._mine = False
        self._text = ""
        self._pieces = TextPieces()
        self.answer: Answer | None = None

    def take(self, item: StreamItem) -> bool:
        """Take the stream's next item. Returns whether a call may wait for a person now."""
        if isinstance(item, Delta):
            if self._mine and item.kind == "text":
                self._piece(item)
            return False
        if isinstance(item, Progress):
            return False
        match item.event:
            case ev.InputReceived(input=number):
                self._mine = self._mine or number == self._number
            case ev.ModelCompleted(step=step, parts=parts):
                self._text = AssistantMessage(parts).text
                if self._mine and (rest := self._pieces.rest(step, self._text)):
                    self._on_delta(rest)
            case ev.TurnCompleted() as end if self._mine:
                self.answer = Answer(
                    text=self._text, outcome=end.outcome, reason=end.reason, steps=end.steps, usage=end.usage
                )
            case ev.StateChanged(state="stopped" | "error", reason=reason):
                self.answer = Answer(text=self._text, outcome="failed", reason=reason)
            case ev.Event(question=ev.Question()):
                return True
            case _:
                pass
        return False

    def _piece(self, delta: Delta) -> None:
        if new := self._pieces.new(delta):
            self._on_delta(new)
