"""Rate limits that providers report in the headers of every answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, NamedTuple, TypeAlias

Unit: TypeAlias = Literal["requests", "tokens"]

HEARD = "rate_limits"
"""The kind of the notice that carries such headers from a wire to the limiter around it; the limiter does not pass it
on."""

_NAMES = re.compile(
    # OpenAI and compatible servers: x-ratelimit-remaining-tokens. Anthropic: anthropic-ratelimit-tokens-remaining.
    r"(?:x-ratelimit-(?P<what>limit|remaining|reset)-(?P<unit>requests|tokens)"
    r"|anthropic-ratelimit-(?P<unit2>requests|tokens)-(?P<what2>limit|remaining|reset))"
)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 86400.0


class Allowance(NamedTuple):
    """A reported limit: `left` of `limit` until `reset` seconds from now."""

    left: float
    limit: float | None
    reset: float


def about_limits(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that `said` can read, in lower case."""
    return {key.lower(): value for key, value in headers.items() if _NAMES.fullmatch(key.lower())}


def allowances(headers: Mapping[str, str], wall: float) -> dict[Unit, Allowance]:
    """Parse the headers. Missing or unreadable values are left out. wall: seconds since 1970."""
    fields: dict[Unit, dict[str, float | None]] = {"requests": {}, "tokens": {}}
    for key, value in headers.items():
        if match := _NAMES.fullmatch(key.lower()):
            what = match["what"] or match["what2"]
            unit: Unit = "tokens" if (match["unit"] or match["unit2"]) == "tokens" else "requests"
            fields[unit][what] = seconds(value, wall) if what == "reset" else _number(value)
    limits: dict[Unit, Allowance] = {}
    for unit, values in fields.items():
        left, reset = values.get("remaining"), values.get("reset")
        if left is not None and reset is not None:
            limits[unit] = Allowance(left, values.get("limit"), reset)
    return limits


def seconds(text: str, wall: float) -> float | None:
    """Return seconds from now for `6m0s`, `20ms`, `1.5` or an RFC 3339 time, between 0 and a day; None if
    unreadable."""
    text = text.strip()
    number = _number(text)
    if number is None and (parts := _SPAN.findall(text)) and _SPAN.sub("", text) == "":
        number = sum(float(amount) * _SECONDS[unit] for amount, unit in parts)
    if number is None:
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            return None
        number = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - wall
    return min(max(number, 0.0), _LONGEST)


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,15}(\.\d{1,9})?", text.strip()) else None
