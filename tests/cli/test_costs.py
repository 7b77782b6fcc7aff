"""`roost costs`, with a daemon and without one."""

from __future__ import annotations

import time

from roost.testing.scripted import Answer

from .conftest import Machine

TOML = """
[models."openai/scripted"]
price = { input = 1.0, output = 2.0 }

[budget]
month = 0.0005
users = { "*" = 1.0 }
warn = 0.2
"""
COST = Answer().usage.input * 1_000 + Answer().usage.output * 2_000
"""Nano-dollars of an answer of the stub."""


def test_what_was_spent_is_shown_and_a_limit_holds(roost: Machine) -> None:
    month = time.strftime("%Y-%m", time.gmtime())
    roost.home.mkdir(mode=0o700)
    empty = roost("costs").ok()
    assert empty.out == f"{month}: $0.00 spent\n"
    (roost.home / "models.toml").write_text(TOML.replace("0.0005", "5"))
    session = roost("run", "hello", "--json").ok().json["session"]
    found = roost("costs", "--by", "model", "--json").ok().json
    assert (found["month"]["spent"], found["month"]["reserved"], found["month"]["limit"]) == (COST, 0, 5 * 10**9)
    (row,) = found["rows"]
    assert (row["name"], row["calls"], row["unpriced"], row["cost"]) == ("openai/scripted", 1, 0, COST)
    assert [(share["kind"], share["name"], share["spent"]) for share in found["shares"]] == [
        ("agent", "assistant", COST)
    ]
    roost.up()
    roost("send", session, "hello again", "--wait").ok()
    shown = roost("costs").ok().out
    assert shown.startswith(f"{month}: $0.00028 spent of $5.00 (0%)\n")
    assert "agent  assistant  $0.00028  -         -" in shown
    by = roost("costs", "--by", "session").ok().out.splitlines()
    assert by[2].split() == ["SESSION", "CALLS", "INPUT", "CACHED", "OUTPUT", "COST", "SAVED"]
    assert by[3].split() == [session, "2", "200", "0", "40", "$0.00028", "-"]
    assert roost("costs", "--by", "day", "--month", "2020-02", "--json").ok().json["rows"] == []
    roost("down").ok()
    (roost.home / "models.toml").write_text(TOML)
    refused = roost("run", "hello")
    assert refused.code != 0
    assert f"the budget of {month} has $0.00022 left and this call may cost " in refused.err
    assert "[budget] in models.toml" in refused.err
    assert "past the warning at $0.0001" in roost("costs").ok().err


def test_a_month_that_ends_is_told_in_a_line(roost: Machine) -> None:
    month = time.strftime("%Y-%m", time.gmtime())
    roost.home.mkdir(mode=0o700)
    (roost.home / "models.toml").write_text(TOML.replace("0.0005", "0.01").replace("0.2", "0.01"))
    told = roost("run", "hello").ok().err
    assert f"the budget of {month} is nearly spent: the answer may have " in told
    assert f"1 % of the budget of {month} are spent" in told


def test_calls_of_unknown_price_are_counted_as_such(roost: Machine) -> None:
    roost("run", "hello").ok()
    shown = roost("costs", "--by", "agent").ok()
    assert shown.out.splitlines()[3].split() == ["assistant", "1", "100", "0", "20", "unknown", "-"]
    assert "of 1 call the price is not known" in shown.err
    wrong = roost("costs", "--month", "2026-13")
    assert wrong.code == 2
    assert "2026-11" in wrong.err
