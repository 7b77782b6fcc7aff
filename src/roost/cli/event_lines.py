"""Events that are one line for people, wherever they are shown."""

from __future__ import annotations

import msgspec

from roost.ids import short
from roost.log import events as ev
from roost.terminal_text import one_line

_WIDTH = 100


def event_line(event: ev.Event) -> str | None:
    """Return the line of an event that is no message, model call, tool call or end of a turn; None for events that
    people need not see."""
    match event:
        case ev.StateChanged() if event.state in ("paused", "stopped", "error"):
            return f"session {event.state}" + (f": {event.reason}" if event.reason else "")
        case ev.Emitted():
            return f"event {event.name}: {one_line(msgspec.json.encode(event.data).decode(), _WIDTH)}"
        case ev.SessionTainted():
            return f"  {event.by} brought in text of strangers; after you have checked it: `roost trust`"
        case ev.SandboxChosen() if event.why is not None:
            return f"commands run at isolation level {event.level} only: {event.why}"
        case ev.SandboxLimit():
            return f"  limit hit: {event.limit}"
        case ev.SandboxEnded():
            more = f", and with it {event.background} programs in the background" if event.background else ""
            return f"  the sandbox ended: {event.reason}{more}"
        case ev.SessionRolledBack():
            return f"  rolled back to {event.label or f'event {event.to}'}" + _why(event.why_no_files)
        case ev.SessionForked():
            return f"  forked from {short(event.source)} at event {event.position}" + _why(event.why_no_files)
        case ev.SessionImported():
            return f"  imported up to here: session {short(event.source)} of {event.format}"
        case _:
            return None if event.line is None else event.margin + event.line


def _why(problem: str | None) -> str:
    return f"; files: {problem}" if problem else ""
