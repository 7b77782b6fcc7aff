"""When schedules come due, against a walk over every quarter of an hour of a year."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import cache
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from roost.errors import Invalid
from roost.features.schedules.recurrence import check, delay, following, judge, occurrences
from roost.log.schedule_events import ScheduleSpec, TurnLimits

YEAR = 2027
ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kolkata", "UTC"]


def utc(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()


@cache
def walk(zone: str) -> list[tuple[float, datetime]]:
    """Every quarter of an hour of the year, with what the clocks show."""
    where, start, end = ZoneInfo(zone), utc(YEAR, 1, 1), utc(YEAR + 1, 1, 1)
    moments = [start + 900 * place for place in range(int((end - start) // 900))]
    return [(moment, datetime.fromtimestamp(moment, where).replace(tzinfo=None)) for moment in moments]


def by_the_wall(zone: str, hour: int, minute: int) -> list[float]:
    """For `minute hour * * *`: the first moment of each day at which the clocks show it, or have gone past it."""
    found: list[float] = []
    last: date | None = None
    for moment, wall in walk(zone):
        if wall.hour * 60 + wall.minute >= hour * 60 + minute and wall.date() != last:
            found.append(moment)
            last = wall.date()
    return found


def year_of(cron: str, zone: str) -> list[float]:
    spec = ScheduleSpec(text="x", cron=cron, zone=zone)
    start, end = utc(YEAR, 1, 1), utc(YEAR + 1, 1, 1)
    found = islice(occurrences(spec, start - 1, anchor=start), 100_000)
    dues: list[float] = []
    for due in found:
        if due >= end:
            break
        dues.append(due)
    return dues


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(("hour", "minute"), [(2, 30), (1, 45), (3, 0), (0, 0), (23, 45)])
def test_a_time_of_the_day_comes_once_a_day(zone: str, hour: int, minute: int) -> None:
    expected = by_the_wall(zone, hour, minute)[1:]  # the first day began in the year before
    assert [due for due in year_of(f"{minute} {hour} * * *", zone) if due >= expected[0]] == expected
    assert 363 <= len(expected) <= 366


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    ("cron", "fits"),
    [
        ("0 * * * *", lambda wall: wall.minute == 0),
        ("*/15 * * * *", lambda wall: True),
        ("30 * * * *", lambda wall: wall.minute == 30),
        ("*/15 2 * * *", lambda wall: wall.hour == 2),
        ("* 5 * * 1", lambda wall: wall.hour == 5 and wall.weekday() == 0),
    ],
)
def test_what_has_a_star_follows_the_time_that_passes(zone: str, cron: str, fits: object) -> None:
    expected = [moment for moment, wall in walk(zone) if fits(wall)]  # type: ignore[operator]
    dues = year_of(cron, zone)
    assert [due for due in dues if due % 900 == 0] == expected
    assert dues == sorted(set(dues))


def test_the_hour_that_is_left_out_and_the_one_that_comes_twice() -> None:
    berlin = set(year_of("30 2 * * *", "Europe/Berlin"))
    assert utc(2027, 3, 28, 1, 0) in berlin  # 02:30 is never shown: 03:00 summer time
    assert utc(2027, 10, 31, 0, 30) in berlin
    assert utc(2027, 10, 31, 1, 30) not in berlin
    twice = set(year_of("*/30 2 * * *", "Europe/Berlin"))
    assert {utc(2027, 10, 31, 0, 30), utc(2027, 10, 31, 1, 30)} <= twice
    assert not [due for due in twice if utc(2027, 3, 28) <= due < utc(2027, 3, 29)]
    both = year_of("15,45 2 * * *", "Europe/Berlin")  # two times of the hour left out are one moment
    assert [due for due in both if utc(2027, 3, 28) <= due < utc(2027, 3, 29)] == [utc(2027, 3, 28, 1, 0)]


@settings(max_examples=examples(60), deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    minute=st.sampled_from(["*", "0", "*/20", "5,35", "59"]),
    hour=st.sampled_from(["*", "2", "*/6", "1-3", "0,23"]),
    day=st.sampled_from(["*", "1", "28-31", "L"]),
    week=st.sampled_from(["*", "0", "1-5", "MON#1"]),
    start=st.integers(int(utc(YEAR, 1, 1)), int(utc(YEAR + 1, 1, 1))),
)
def test_where_one_begins_to_look_changes_nothing(
    zone: str, minute: str, hour: str, day: str, week: str, start: int
) -> None:
    spec = ScheduleSpec(text="x", cron=f"{minute} {hour} {day} * {week}", zone=zone)
    in_one_go = list(islice(occurrences(spec, start, anchor=start), 40))
    moment, one_by_one = float(start), []
    while len(one_by_one) < len(in_one_go):
        due = following(spec, moment, anchor=start)
        assert due is not None
        assert due > moment
        one_by_one.append(moment := due)
    assert one_by_one == in_one_go


def test_intervals_keep_their_beat() -> None:
    spec = ScheduleSpec(text="x", every=90.0)
    assert list(islice(occurrences(spec, 1000.0, anchor=1000.0), 3)) == [1090.0, 1180.0, 1270.0]
    assert following(spec, 1200.0, anchor=1000.0) == 1270.0
    assert following(spec, 1180.0, anchor=1000.0) == 1270.0


@pytest.mark.parametrize("way", [{"cron": "*/5 * * * *"}, {"every": 300.0}])
@pytest.mark.parametrize("jitter", [0.0, 120.0, 3600.0])
def test_jitter_is_the_same_every_time_and_keeps_the_order(way: dict[str, object], jitter: float) -> None:
    spec = ScheduleSpec(text="x", jitter=jitter, **way)  # type: ignore[arg-type]
    dues = list(islice(occurrences(spec, 0.0, anchor=0.0), 50))
    put_off = [due + delay(spec, "s:n", due) for due in dues]
    assert put_off == [due + delay(spec, "s:n", due) for due in dues] == sorted(put_off)
    assert all(0 <= late - due <= min(jitter, 300.0) for due, late in zip(dues, put_off, strict=True))
    other = [due + delay(spec, "s:other", due) for due in dues]
    assert (other == put_off) == (jitter == 0.0)


HOUR = 3600.0


def test_on_time_every_policy_runs_it() -> None:
    for missed in ("skip", "once", "all"):
        spec = ScheduleSpec(text="x", every=HOUR, missed=missed)
        assert judge(spec, "s", 1000.0, 1001.0) == (1000.0, 1000.0 + HOUR, 0)


def test_what_was_missed() -> None:
    late = 1000.0 + 5 * HOUR + 600
    spec = ScheduleSpec(text="x", every=HOUR)
    newest = 1000.0 + 5 * HOUR
    assert judge(spec, "s", 1000.0, late) == (newest, newest + HOUR, 5)
    skip = ScheduleSpec(text="x", every=HOUR, missed="skip")
    assert judge(skip, "s", 1000.0, late) == (None, newest + HOUR, 6)
    assert judge(skip, "s", 1000.0, newest + 59) == (newest, newest + HOUR, 5)  # the newest one is on time
    every = ScheduleSpec(text="x", every=HOUR, missed="all")
    assert judge(every, "s", 1000.0, late) == (1000.0, 1000.0 + HOUR, 0)
    capped = ScheduleSpec(text="x", every=HOUR, missed="all", catch_up=2)
    assert judge(capped, "s", 1000.0, late) == (newest - HOUR, newest, 4)
    assert judge(capped, "s", newest, late) == (newest, newest + HOUR, 0)


def test_years_of_absence_are_judged_in_a_moment() -> None:
    spec = ScheduleSpec(text="x", cron="* * * * *", missed="all", catch_up=3)
    now = utc(2030, 1, 1) + 30
    run, then, missed = judge(spec, "s", utc(2027, 1, 1), now)
    assert (run, then) == (utc(2030, 1, 1) - 120, utc(2030, 1, 1) - 60)
    assert missed == 498  # of 501 that were counted
    once = ScheduleSpec(text="x", at=1000.0)
    assert judge(once, "s", 1000.0, 9e8) == (1000.0, None, 0)
    assert judge(ScheduleSpec(text="x", at=1000.0, missed="skip"), "s", 1000.0, 9e8) == (None, None, 1)


@pytest.mark.parametrize(
    ("fields", "code", "fix"),
    [
        ({"cron": "0 9 * *"}, "bad_cron", "five fields"),
        ({"cron": "61 9 * * *"}, "bad_cron", "minute 0-59"),
        ({"cron": "a b c d e"}, "bad_cron", "five fields"),
        ({"cron": "0 0 31 2 *"}, "bad_cron", "day"),
        ({"cron": "* * */20 * 1L"}, "bad_cron", "never comes due"),
        ({"cron": "0 9 * * *", "zone": "Europe/Berln"}, "bad_zone", "did you mean 'Europe/Berlin'"),
        ({"cron": "0 9 * * *", "zone": "../etc/passwd"}, "bad_zone", "Europe/Berlin"),
        ({"cron": "0 9 * * *", "zone": ""}, "bad_zone", "UTC"),
        ({"every": 0.5}, "bad_schedule", "1 second to 366 days"),
        ({"every": float("nan")}, "bad_schedule", "1 second"),
        ({"at": 40.0}, "past", "later time"),
        ({"at": 1e300}, "past", "later time"),
        ({}, "bad_schedule", "one of"),
        ({"every": 60.0, "at": 5e9}, "bad_schedule", "one of"),
        ({"every": 60.0, "text": "  "}, "empty_message", "say what"),
        ({"every": 60.0, "jitter": -1.0}, "bad_schedule", "jitter"),
        ({"every": 60.0, "catch_up": 0}, "bad_schedule", "catch_up"),
        ({"every": 60.0, "limits": TurnLimits(steps=0)}, "bad_schedule", "limits.steps"),
        ({"every": 60.0, "limits": TurnLimits(money=-1.0)}, "bad_schedule", "limits.money"),
        ({"every": 60.0, "limits": TurnLimits(seconds=float("nan"))}, "bad_schedule", "limits.seconds"),
    ],
)
def test_what_cannot_be_a_schedule_says_what_would_be(fields: dict[str, object], code: str, fix: str) -> None:
    with pytest.raises(Invalid, match=fix) as error:
        check(ScheduleSpec(**{"text": "x", **fields}), 100.0)
    assert error.value.code == code


@pytest.mark.parametrize("cron", ["@daily", "0 9 * * 1-5", "0 0 29 2 *", "*/5 * L * *", "0 9 * JAN MON#1"])
def test_what_can_be_a_schedule(cron: str) -> None:
    check(ScheduleSpec(text="x", cron=cron, zone="Africa/Casablanca"), 1e9)
