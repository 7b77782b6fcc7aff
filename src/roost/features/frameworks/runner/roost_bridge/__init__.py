"""What runs in the program of a hosted agent. It needs nothing but Python, and the agent's own framework.

`tool` makes a function of your own a tool that Roost judges, records and never runs twice by mistake. `turn_time`
returns the time at which the turn began: use it in place of the clock, so that a turn repeats itself after a crash.
`person_answers` asks a person. `announce`, `guarded` and `guarded_sync` are for adapters of other frameworks."""

from __future__ import annotations

from .gate import ToolFailed, ToolRefused, announce, guarded, guarded_sync, person_answers, tool, turn_time

__all__ = [
    "ToolFailed",
    "ToolRefused",
    "announce",
    "guarded",
    "guarded_sync",
    "person_answers",
    "tool",
    "turn_time",
]
