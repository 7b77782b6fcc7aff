"""Time zones by name."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from roost.errors import Invalid

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone. Raises `Invalid`."""
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise Invalid(f"there is no time zone {name!r}{_near(name)}", code="bad_zone") from None


def local_time(moment: float, zone: str) -> datetime:
    """Return the local time in a zone, or in UTC if this machine does not know the zone."""
    try:
        return datetime.fromtimestamp(moment, zone_of(zone))
    except Invalid:
        return datetime.fromtimestamp(moment, zone_of("UTC"))


def _near(name: str) -> str:
    import difflib
    from zoneinfo import available_timezones

    known = {zone.lower(): zone for zone in available_timezones()}
    near = difflib.get_close_matches(name.lower().replace(" ", "_"), known, n=1)
    return f"; did you mean {known[near[0]]!r}?" if near else ": give a name like 'Europe/Berlin', or 'UTC'"
