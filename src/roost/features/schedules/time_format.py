"""Parse and format times as people write them."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path

from roost.errors import Invalid
from roost.time_zones import local_time, zone_of

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def local_zone() -> str:
    """Return the name of the machine's time zone, from TZ or /etc; UTC where it has none."""
    named = os.environ.get("TZ", "").lstrip(":")
    place = str(Path("/etc/localtime").resolve())
    for name in (named, place.partition("zoneinfo/")[2]):
        try:
            return zone_of(name).key if name else "UTC"
        except Invalid:
            continue
    return "UTC"


def seconds_of(text: str) -> float:
    """Parse `90`, `30m`, `1h30m` or `2d`. Raises `Invalid`."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(r"(\d+(\.\d+)?[smhdw])+", text.lower()):
        raise Invalid(f"{text!r} is no duration: give seconds, or as in 30m, 1h30m, 2d")
    return sum(float(count) * _UNITS[unit] for count, _, unit in re.findall(r"(\d+(\.\d+)?)([smhdw])", text.lower()))


def duration(seconds: float) -> str:
    """Format seconds as `seconds_of` reads them, such as `1h30m`."""
    if seconds < 1 or seconds != int(seconds):
        return f"{seconds:g}s"
    said, rest = "", int(seconds)
    for unit in "dhms":
        count, rest = divmod(rest, _UNITS[unit])
        said += f"{count}{unit}" if count else ""
    return said


def moment_of(text: str, zone: str) -> float:
    """Parse `2026-12-24 18:00` in the zone's time, or with an offset of its own. Raises `Invalid`."""
    try:
        written = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(f"{text!r} is no time: give one as in 2026-12-24T18:00") from None
    return (written if written.tzinfo else written.replace(tzinfo=zone_of(zone))).timestamp()


def shown(moment: float, zone: str) -> str:
    return f"{local_time(moment, zone):%a %Y-%m-%d %H:%M:%S %Z}".replace(":00 ", " ")
