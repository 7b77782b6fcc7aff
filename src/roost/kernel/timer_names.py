"""Check the names of timers."""

from __future__ import annotations

from roost.errors import Invalid
from roost.features.schedules.firing import timer_of
from roost.ids import is_storable

LENGTH = 200
"""Most characters of a name: it is part of a database key, whose length is limited."""
_OWN = ("approval:", "child:", "job:", "memory:")
"""Prefixes of timers that delegated tasks, waiting calls, jobs and the memory set."""


def check_timer(timer: str) -> None:
    """Refuse a name that a caller may not use for a timer. Raises `Invalid`."""
    if not 1 <= len(timer) <= LENGTH or not is_storable(timer):
        raise Invalid(f"a timer's name has 1 to {LENGTH} characters, none of them NUL", code="bad_timer")
    if timer.startswith(timer_of("")):
        raise Invalid(f"the timer {timer!r} is a schedule's; change it with `roost schedule`, or name yours otherwise")
    if timer.startswith(_OWN):
        raise Invalid(f"timers whose name begins with {', '.join(_OWN)} are Roost's own: name yours otherwise")
