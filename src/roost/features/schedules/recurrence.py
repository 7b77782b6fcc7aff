"""When a schedule is due: pure arithmetic on wall time, in seconds since 1970.

cronsim matches a cron expression against wall time, without a time zone; this file handles clock changes. As in
Debian's cron, an expression that fixes minute and hour fires once for each of its wall times. If the clocks skip the
time, it fires at the moment of the change; if the time occurs twice, at the first. An expression with a `*` in minute
or hour follows elapsed time: nothing in a skipped hour, and twice in a repeated hour.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice, pairwise
from typing import TYPE_CHECKING, NamedTuple

from roost.errors import Invalid
from roost.ids import is_id
from roost.log.schedule_events import ScheduleSpec
from roost.time_zones import zone_of

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

NAME_LENGTH = 64
TEXT_BYTES = 64 * 1024
COUNTED = 500
"""Most missed firings that are counted exactly."""
_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_DAY = 86400.0


class Verdict(NamedTuple):
    """Decision on a firing. run: due time of the one that runs now, or None. next: the next due time, or None if there
    is none. missed: number of firings that were due and get no turn."""

    run: float | None
    next: float | None
    missed: int


def occurrences(spec: ScheduleSpec, after: float, *, anchor: float) -> Iterator[float]:
    """Yield due times after a moment, in order, without end except for `at`. anchor: time of the last firing or of the
    creation, from which `every` counts. Raises `Invalid` for an unknown zone or an invalid expression."""
    if spec.cron is not None:
        expression, zone = cron_of(spec.cron), zone_of(spec.zone)
        minute, hour = expression.split()[:2]
        follows = minute.startswith("*") or hour.startswith("*")
        yield from (_as_it_passes if follows else _by_the_wall)(expression, zone, after)
    elif spec.every is not None:
        count = max(math.floor((after - anchor) / spec.every), 0)
        while True:
            count += 1
            if (due := anchor + count * spec.every) > after:
                yield due
    elif spec.at is not None and spec.at > after:
        yield spec.at


def following(spec: ScheduleSpec, after: float, *, anchor: float) -> float | None:
    return next(occurrences(spec, after, anchor=anchor), None)


def delay(spec: ScheduleSpec, seed: str, due: float) -> float:
    """Return the jitter of a firing in seconds: deterministic, and less than the time to the next firing."""
    if not spec.jitter:
        return 0.0
    then = following(spec, due, anchor=due)
    most = spec.jitter if then is None else min(spec.jitter, then - due)
    digest = hashlib.blake2b(f"{seed}:{due!r}".encode(), digest_size=6).digest()
    return most * (int.from_bytes(digest, "big") / 2**48)


def judge(spec: ScheduleSpec, seed: str, due: float, now: float) -> Verdict:
    """Decide on the firing that was due at `due` and is handled at `now`."""
    came, counted = _came(spec, seed, due, now)
    newest = came[-1]
    then = following(spec, newest, anchor=newest)
    if spec.missed == "all":
        return Verdict(came[0], came[1] if len(came) > 1 else then, counted - len(came))
    if spec.missed == "skip" and now - newest - delay(spec, seed, newest) > spec.grace:
        return Verdict(None, then, counted)
    return Verdict(newest, then, counted - 1)


def _came(spec: ScheduleSpec, seed: str, due: float, now: float) -> tuple[list[float], int]:
    """Return the newest due times up to `now`, oldest first, as many as may run, and the number of all."""
    most = spec.catch_up if spec.missed == "all" else 1
    found = [due, *islice(_until(spec, seed, due, now), COUNTED)]
    if len(found) <= COUNTED:
        return found[-most:], len(found)
    span = 60.0
    while True:
        start = max(now - span, due)
        newest = list(_until(spec, seed, start, now, anchor=due))
        if len(newest) >= most or start == due:
            return newest[-most:], len(found)
        span *= 4


def _until(spec: ScheduleSpec, seed: str, after: float, now: float, *, anchor: float | None = None) -> Iterator[float]:
    for one in occurrences(spec, after, anchor=after if anchor is None else anchor):
        if one > now or one + delay(spec, seed, one) > now:
            return
        yield one


def cron_of(text: str) -> str:
    """Return a cron expression with five fields, macros resolved. Raises `Invalid`."""
    fields = _MACROS.get(text.strip().lower(), text).split()
    if len(fields) != 5:
        raise Invalid(
            f"{text!r} is no cron expression: give five fields, as in '0 9 * * 1-5' (minute, hour, day of the month,"
            " month, day of the week), or @hourly, @daily, @weekly, @monthly, @yearly",
            code="bad_cron",
        )
    return " ".join(fields)


def check_name(name: str) -> None:
    """Validate a schedule's name. Raises `Invalid`."""
    if not is_id(name) or len(name) > NAME_LENGTH:
        raise Invalid(f"{name!r} cannot name a schedule: use letters, digits and ._:- (at most {NAME_LENGTH})")


def check(spec: ScheduleSpec, now: float) -> None:
    """Validate a schedule, and that it is ever due. Reads time zone files. Raises `Invalid`."""
    if sum(way is not None for way in (spec.cron, spec.every, spec.at)) != 1:
        raise Invalid("give one of `cron`, `every` (seconds) and `at` (seconds since 1970)", code="bad_schedule")
    if not spec.text.strip():
        raise Invalid("the text is empty: say what the agent is to be told", code="empty_message")
    if len(spec.text.encode(errors="replace")) > TEXT_BYTES:
        raise Invalid(f"the text has more than {TEXT_BYTES} bytes: put it into a file of the workspace")
    zone_of(spec.zone)
    if spec.every is not None and not 1 <= spec.every <= 366 * _DAY:
        raise Invalid(f"every {spec.every} seconds is out of range: give 1 second to 366 days", code="bad_schedule")
    if spec.at is not None and not now - spec.grace < spec.at < 250_000_000_000:
        raise Invalid("`at` is in the past: give a later time, or send a message now", code="past")
    if spec.cron is not None:
        _check_cron(spec, now)
    bounds = {"jitter": (spec.jitter, 0, _DAY), "grace": (spec.grace, 0, 7 * _DAY),
              "catch_up": (spec.catch_up, 1, 100), "idle_after": (spec.idle_after, 1, 10_000)}  # fmt: skip
    if spec.limits is not None:
        given = spec.limits
        limits = {"steps": (given.steps, 1, 1e9), "tokens": (given.tokens, 1, 1e12), "money": (given.money, 0, 1e9),
                  "seconds": (given.seconds, 0.001, 366 * _DAY)}  # fmt: skip
        bounds |= {f"limits.{name}": (value, *ends) for name, (value, *ends) in limits.items() if value is not None}
    for name, (value, least, most) in bounds.items():
        if not least <= value <= most:
            raise Invalid(f"`{name}` is {value}: give {least} to {most:g}", code="bad_schedule")


def _check_cron(spec: ScheduleSpec, now: float) -> None:
    from cronsim import CronSimError

    try:
        if following(spec, now, anchor=now) is None:
            raise Invalid(f"the cron expression {spec.cron!r} never comes due: no day is like that", code="bad_cron")
    except CronSimError as error:
        raise Invalid(
            f"the cron expression {spec.cron!r} cannot be read ({str(error).lower()}): five fields, minute 0-59, hour"
            " 0-23, day of the month 1-31, month 1-12, day of the week 0-7 (0 and 7 are Sunday)",
            code="bad_cron",
        ) from None


def _matches(expression: str, wall: datetime) -> Iterator[datetime]:
    """Yield matching wall times, from the second after `wall` on. Ends if there is none for 50 years."""
    from cronsim import CronSim

    return iter(CronSim(expression, wall))


def _by_the_wall(expression: str, zone: ZoneInfo, after: float) -> Iterator[float]:
    last = after
    for wall in _matches(expression, _wall(after, zone)):
        if (due := _instant(wall, zone)) > last:
            yield due
            last = due


def _as_it_passes(expression: str, zone: ZoneInfo, after: float) -> Iterator[float]:
    last, wall, offset = after, _wall(after, zone), _offset(after, zone)
    while True:
        change: float | None = None
        for match in _matches(expression, wall):
            due = (match - _EPOCH).total_seconds() - offset
            if (change := _change(zone, last, due)) is not None:
                break
            yield due
            last = due
        if change is None:
            return
        last, wall, offset = change, _wall(change, zone) - timedelta(seconds=1), _offset(change, zone)


_EPOCH = datetime(1970, 1, 1)


def _offset(moment: float, zone: ZoneInfo) -> float:
    offset = datetime.fromtimestamp(moment, zone).utcoffset()
    return 0.0 if offset is None else offset.total_seconds()


def _wall(moment: float, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(moment, zone).replace(tzinfo=None, fold=0)


def _instant(wall: datetime, zone: ZoneInfo) -> float:
    """Return the first moment at which clocks show `wall`; if they skip it, the moment of the change."""
    due = wall.replace(tzinfo=zone).timestamp()
    if _wall(due, zone) == wall:
        return due
    changed = _change(zone, wall.replace(tzinfo=zone, fold=1).timestamp(), due)
    return due if changed is None else changed


def _change(zone: ZoneInfo, after: float, upto: float) -> float | None:
    """Return the first second in `(after, upto]` at which the clocks change, or None. Two changes on one day that
    cancel each other are not found; none exist."""
    days = [after, *(after + _DAY * day for day in range(1, math.ceil((upto - after) / _DAY))), upto]
    for low, high in pairwise(days):
        offset = _offset(low, zone)
        if _offset(high, zone) == offset:
            continue
        least, most = math.floor(low), math.ceil(high)
        while most - least > 1:
            middle = (least + most) // 2
            if _offset(middle, zone) == offset:
                least = middle
            else:
                most = middle
        return float(most)
    return None
