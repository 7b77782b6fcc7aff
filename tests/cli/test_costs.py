"""`roost costs`, with a daemon and without one."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from pathlib import Path

from roost.log.content import Usage
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.stub.usage_reports import Call, UsageReports
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


def test_a_killed_run_is_charged_a_little_and_settled_by_hand(roost: Machine) -> None:
    """Nobody takes its session up: the next command of the home finds what it may have cost."""
    roost.home.mkdir(mode=0o700)
    price = "price = { input = 3.0, output = 15.0 }\nmax_output = 128000\nwindow = 1000000"
    (roost.home / "models.toml").write_text(f'[models."openai/scripted"]\n{price}\n[budget]\nmonth = 14.7\n')
    with ProviderServer(Script(rules=(Rule(answers=(Reply(text="word " * 5_000, piece=5, pace=0.02),)),))) as provider:
        roost.env["OPENAI_BASE_URL"] = provider.url
        process = roost.start("run", "endless")
        deadline = time.monotonic() + 60
        while not provider.stats.open:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(2.5)  # of its answer
        process.kill()
        process.wait(30)
        while provider.stats.open:
            time.sleep(0.02)
        served = provider.stats.served["scripted"]
    found = roost("costs", "--by", "session", "--json").ok().json
    month, (call,), (row,) = found["month"], found["lost"], found["rows"]
    assert call["reserved"] > 1.9e9
    assert (month["spent"], month["reserved"], month["lost"], month["lost_calls"]) == (call["cost"], 0, call["cost"], 1)
    assert served.input * 3_000 + served.output * 15_000 <= call["cost"] < 0.12e9
    assert (row["name"], row["calls"], row["cost"], row["lost"]) == (call["session"], 1, call["cost"], call["cost"])
    shown = roost("costs").ok()
    assert "reserved" not in shown.out
    assert "is lost, at most: 1 call cut off by a crash; see `roost costs lost`" in shown.err
    listed = roost("costs", "lost").ok().out
    assert call["id"] in listed
    assert "it was charged $0.0" in roost("costs", "settle", call["id"], "0.02").ok().err
    found = roost("costs", "--by", "agent", "--json").ok().json
    assert (found["month"]["spent"], found["month"]["lost"]) == (20_000_000, 0)
    assert [row["cost"] for row in found["rows"]] == [20_000_000]
    assert "by hand" in roost("costs", "lost").ok().out
    wrong = roost("costs", "settle", "none", "1")
    assert wrong.code == 1
    assert "there is no lost call 'none'; `roost costs lost` lists them" in wrong.err


def test_a_killed_run_is_settled_by_the_provider_s_report(roost: Machine) -> None:
    roost.home.mkdir(mode=0o700)
    roost.env |= {"OPENROUTER_API_KEY": "or-key", "ROOST_MODEL": "openrouter/scripted"}
    reports = UsageReports(key="or-key")
    answer = Reply(text="word " * 5_000, piece=5, pace=0.02)
    with ProviderServer(Script(rules=(Rule(answers=(answer,)),)), reports=reports) as provider:
        entry = f'[accounts.openrouter]\nbase_url = "{provider.url}"\n'
        price = '[models."openrouter/scripted"]\nprice = { input = 3.0, output = 15.0 }\n'
        (roost.home / "models.toml").write_text(entry + price)
        process = roost.start("run", "endless")
        deadline = time.monotonic() + 60
        while not _noted(roost.home / "roost.db"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.kill()
        process.wait(30)
        id = re.search(r'"id":"([^"]+)"', provider.provider.writes[0].decode())
        assert id is not None
        early = roost("costs", "reconcile").ok()
        assert f"the provider does not know {id[1]} (yet)" in early.err
        reports.calls.append(Call(at=time.time(), model="scripted", usage=Usage(10, 5), dollars=0.00123, id=id[1]))
        (found,) = roost("costs", "reconcile", "--json").ok().json["calls"]
        assert (found["cost"], found["why"]) == (1_230_000, None)
        assert "waits for a settlement" in roost("costs", "reconcile").ok().err
    assert "by the provider" in roost("costs", "lost").ok().out
    month = roost("costs", "--json").ok().json["month"]
    assert (month["spent"], month["lost"]) == (1_230_000, 0)


def _noted(path: Path) -> bool:
    """Whether the id that the provider gave the answer is in the store."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
            return store.execute("SELECT 1 FROM calls WHERE provider_id IS NOT NULL").fetchone() is not None
    except sqlite3.OperationalError:  # it is being made
        return False


def test_a_budget_in_another_currency_is_shown_in_it(roost: Machine) -> None:
    roost.home.mkdir(mode=0o700)
    toml = TOML.replace("month = 0.0005", 'month = 0.7\ncurrency = "CNY"')
    (roost.home / "models.toml").write_text(toml + "[rates]\nCNY = 0.1\n")
    roost("run", "hello").ok()
    shown = roost("costs").ok()
    assert shown.out.splitlines()[0].endswith(": CNY 0.0014 spent of CNY 0.70 (0%)")
    assert "1 CNY = $0.1, by models.toml" in shown.err
    assert "agent  assistant  CNY 0.0014" in shown.out
    (roost.home / "models.toml").write_text(toml.replace("month = 0.7", "month = 0.002"))
    dated = roost("costs").ok().err
    assert re.search(r"the rate of 20\d\d-\d\d-\d\d", dated)
    refused = roost("run", "hello")
    assert re.search(r"has CNY 0\.\d+ left and this call may cost CNY ", refused.err)


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
    assert "the price of 1 call is not known" in shown.err
    wrong = roost("costs", "--month", "2026-13")
    assert wrong.code == 2
    assert "2026-11" in wrong.err
