"""`roost schedule`, with a daemon and without one."""

from __future__ import annotations

import time

import pytest

from roost.errors import Invalid
from roost.features.schedules.time_format import duration, moment_of, seconds_of, shown

from .conftest import Machine


def test_schedules_from_the_command_line(roost: Machine) -> None:
    roost.home.mkdir(mode=0o700)
    roost.up()
    assert "no schedules" in roost("schedule", "list").ok().err
    made = roost("schedule", "create", "news", "tell me", "--cron", "30 2 * * *", "--zone", "Europe/Berlin").ok()
    assert made.out.count("CE") == 5
    assert "no daemon" not in made.err
    roost("schedule", "create", "soon", "say hello", "--in", "1s").ok()
    (news, *_) = [one for one in roost("schedule", "list", "--json").ok().json if one["name"] == "news"]
    assert (news["state"], len(news["coming"])) == ("active", 5)
    assert news["coming"][0]["local"][-6:] in ("+01:00", "+02:00")
    deadline = time.monotonic() + 15
    while len(roost("schedule", "list", "--json").ok().json) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert "is paused" in roost("schedule", "pause", "news").ok().err
    assert "paused" in roost("schedule", "list").ok().out
    shown = roost("schedule", "show", "news").ok().out
    assert "30 2 * * * in Europe/Berlin" in shown
    assert "is active" in roost("schedule", "resume", "news").ok().err
    run = roost("schedule", "run", "news", "--json").ok().json
    assert run["session"] == news["session"]
    assert "deleted" in roost("schedule", "delete", "news").ok().err
    wrong = roost("schedule", "show", "news")
    assert (wrong.code, "roost schedule list" in wrong.err) == (1, True)


def test_without_a_daemon_and_what_is_wrong(roost: Machine) -> None:
    roost.home.mkdir(mode=0o700)
    made = roost("schedule", "create", "beat", "anything?", "--every", "30m", "--heartbeat", "--private", "--json")
    session = made.ok().json["session"]
    (beat,) = roost("schedule", "list", "--json").ok().json
    assert (beat["session"], beat["state"]) == (session, "active")
    told = roost("schedule", "pause", "beat").ok()
    assert "beat is paused" in told.err
    assert "roost up -d" in roost("schedule", "run", "beat").ok().err
    assert "accepted" in roost("schedule", "resume", "beat").ok().err  # what waits there is left to a daemon
    for options, said in {
        ("--cron", "0 9 * * *", "--zone", "Europe/Berln"): "Europe/Berlin",
        ("--at", "2020-01-01"): "past",
    }.items():
        wrong = roost("schedule", "create", "x", "text", "--session", session, *options)
        assert (wrong.code, said in wrong.err) == (1, True), wrong.err
    assert "every 30m" in roost("schedule", "show", "beat").ok().out
    for options in (), ("--every", "1h", "--in", "5m"):
        wrong = roost("schedule", "create", "x", "text", *options)
        assert (wrong.code, "--cron, --every, --at and --in" in wrong.err) == (2, True)
    before = len(roost("ps", "--all", "--json").ok().json)
    for name, text, said in (
        ("a b/c", "x", "cannot name"),
        ("", "x", "cannot name"),
        ("x", "y" * 70_000, "65536 bytes"),
    ):
        wrong = roost("schedule", "create", name, text, "--every", "1h")
        assert (wrong.code, said in wrong.err) == (1, True), wrong.err
    assert len(roost("ps", "--all", "--json").ok().json) == before, "a refused one left a session behind"
    other = roost("schedule", "create", "beat", "more?", "--every", "1h", "--private").ok()
    assert f"of session {session[-8:]} too" in other.err
    for action in ("show", "pause", "resume", "run", "delete"):
        unclear = roost("schedule", action, "beat")
        assert (unclear.code, "2 sessions have a schedule 'beat': " in unclear.err) == (1, True), unclear.err
        assert session[-8:] in unclear.err
    assert "rest" in roost("schedule", "show", "beat", "--session", session).ok().out
    roost("schedule", "create", "odd", "caf\udce9", "--every", "1h").ok()
    odd = roost("checkpoint", session, "caf\udce9")
    assert (odd.code, "UTF-8" in odd.err) == (1, True), odd.err


def test_times_as_people_write_them() -> None:
    assert [seconds_of(text) for text in ("90", "30m", "1h30m", "2d", "1.5h")] == [90, 1800, 5400, 172800, 5400]
    assert moment_of("2027-07-01 12:00", "Europe/Berlin") == moment_of("2027-07-01T10:00+00:00", "Asia/Kolkata")
    assert shown(moment_of("2027-07-01 12:00", "Europe/Berlin"), "Europe/Berlin") == "Thu 2027-07-01 12:00 CEST"
    for wrong in (seconds_of, lambda text: moment_of(text, "UTC")):
        with pytest.raises(Invalid):
            wrong("-5m")


@pytest.mark.parametrize(
    ("seconds", "said"), [(1, "1s"), (90, "1m30s"), (3600, "1h"), (200000, "2d7h33m20s"), (1.5, "1.5s")]
)
def test_durations_are_said_as_they_are_read(seconds: float, said: str) -> None:
    assert (duration(seconds), seconds_of(said)) == (said, seconds)
