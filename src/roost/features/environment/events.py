"""Events of this feature."""

from __future__ import annotations

from roost.log.events import Event


class EnvironmentNoted(Event, frozen=True, tag="environment.noted"):
    """The time and the names of files, added at the start of a turn beside the message that began it. The text never
    changes, so a repeated step sees the same context."""

    turn: int
    text: str


class InstructionsNoted(Event, frozen=True, tag="instructions.noted"):
    """The model is shown a file of the workspace with instructions for agents. digest: of its content; empty when the
    file is gone. text: added beside the message that began the turn; empty when the result of the tool call `call` has
    it."""

    turn: int
    path: str
    digest: str
    text: str = ""
    call: str | None = None

    @property
    def line(self) -> str:
        return f"{self.path} is {'shown' if self.digest else 'gone'}"


EVENTS = (EnvironmentNoted, InstructionsNoted)
