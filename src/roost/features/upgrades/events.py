"""Events and inputs of this feature."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from roost.log.events import Event
from roost.log.inputs import Input, Urgency


class SessionMoved(Event, frozen=True, tag="session.moved"):
    """From the next turn on the session uses this `version` of its agent; `spec` is the definition that it pins."""

    version: str
    spec: msgspec.Raw
    input: int
    source: str | None = None

    @property
    def line(self) -> str:
        return f"session moved to version {self.version} of its agent"


class MoveInput(Input, frozen=True, tag="move"):
    """Change to this version of the session's agent as soon as no turn is open. spec: the definition. needs: tags that
    a node must offer to run it."""

    urgency: ClassVar[Urgency] = 0

    version: str
    spec: msgspec.Raw
    needs: tuple[str, ...] = ()
    source: str | None = None


EVENTS = (SessionMoved,)
INPUTS = (MoveInput,)
