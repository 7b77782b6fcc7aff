"""Events of this feature."""

from __future__ import annotations

from roost.log.events import Event


class EnvironmentNoted(Event, frozen=True, tag="environment.noted"):
    """The time and the names of files, added at the start of a turn beside the message that began it. The text never
    changes, so a repeated step sees the same context."""

    turn: int
    text: str


EVENTS = (EnvironmentNoted,)
