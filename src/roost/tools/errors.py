"""The errors by which a tool tells the model what went wrong, or that a person must decide first."""

from __future__ import annotations

from roost.log.events import Event


class ToolError(Exception):
    """Raised by a tool to tell the model what went wrong, in words for the model."""


class NeedsPerson(Exception):
    """Raised by a tool in the middle of its call: a person must decide before it goes on. The call then waits as one
    that the policy asks about, and runs again when it is approved. event: noted in the commit of the question, by which
    the next run knows what it asked."""

    def __init__(self, reason: str, event: Event) -> None:
        super().__init__(reason)
        self.reason, self.event = reason, event
