"""Events of this feature."""

from __future__ import annotations

from roost.log.events import Event


class IntentChosen(Event, frozen=True, tag="intent.chosen"):
    """The turn intent, chosen because the input has `word`, or as the default. tools: the tools available in this turn,
    None means all. confirm: the turn continues after a person approves the call `turn:N`. calls: the intent of its
    model calls."""

    turn: int
    intent: str
    tools: tuple[str, ...] | None = None
    word: str | None = None
    confirm: bool = False
    calls: str | None = None

    @property
    def line(self) -> str:
        return f"this is about: {self.intent}"


EVENTS = (IntentChosen,)
