"""Check the names of timers."""

from __future__ import annotations

from roost.errors import Invalid
from roost.ids import is_storable
from roost.log.inputs import own_timers

LENGTH = 200
"""Most characters of a name: it is part of a database key, whose length is limited."""


def check_timer(timer: str) -> None:
    """Refuse a name that a caller may not use for a timer. Raises `Invalid`."""
    if not 1 <= len(timer) <= LENGTH or not is_storable(timer):
        raise Invalid(f"a timer's name has 1 to {LENGTH} characters, none of them NUL", code="bad_timer")
    for prefix, whose in own_timers().items():
        if timer.startswith(prefix):
            raise Invalid(f"timers whose names begin with {prefix!r} are those of {whose}: name yours otherwise")
