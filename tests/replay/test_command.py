"""`roost replay`: exit codes, assertions, JUnit and JSON."""

from __future__ import annotations

import asyncio
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from roost.features.replay.api import Divergence, Replayed
from roost.features.replay.commands import replay
from roost.features.replay.expectations import Expect, failures
from roost.features.replay.reports import junit
from roost.features.replay.suite import Result as Ran
from tests.kernel.support import place, running

from .test_replay import clerk, recorded

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


async def typed(home: Path, *arguments: str) -> Result:
    assert place.url is None
    given = [*arguments, "--home", str(home)]
    return await asyncio.to_thread(lambda: CliRunner().invoke(replay, given, standalone_mode=False))


@pytest.fixture
async def home(tmp_path: Path) -> Path:
    """A home with two sessions, one of which has ended no turn, and the log of the other."""
    home = tmp_path / "home"
    async with running(home, clerk()) as runtime:
        session = await recorded(runtime)
        await runtime.exchange.write(session, tmp_path / "good.jsonl")
        await runtime.session("clerk", labels={"suite": "smoke"})
    return home


async def test_a_suite(home: Path, tmp_path: Path) -> None:
    (tmp_path / "brief.md").write_text("Be brief.")
    (tmp_path / "suite.toml").write_text(
        """
        [[replay]]
        log = "good.jsonl"
        name = "all right"
        tools = "live"
        [replay.expect]
        tools = ["write_file", "read_file", "list_files"]
        files = { "a.txt" = "hello" }
        answer_matches = ["^a.txt", "hello"]
        [[replay]]
        log = "good.jsonl"
        name = "all <wrong>"
        tools = "live"
        [replay.expect]
        outcome = "failed"
        tools = ["write_file"]
        uses = ["shell"]
        never = ["read_file"]
        answer_contains = "bye"
        answer_matches = "^hello"
        files = { "a.txt" = "bye", "b.txt" = "" }
        max_cost = 0.5
        max_steps = 1
        max_calls = 1
        """
    )
    done = await typed(home, str(tmp_path / "suite.toml"), "--junit", str(tmp_path / "report.xml"))
    assert done.return_value == 1, done.output
    assert "1 of 2 replays passed" in done.stderr
    report = ET.parse(tmp_path / "report.xml").getroot()
    assert (report.get("tests"), report.get("failures"), report.get("errors")) == ("2", "1", "0")
    right, wrong = report.iter("testcase")
    assert (right.get("name"), wrong.get("name"), len(right)) == ("all right", "all <wrong>", 0)
    (failure,) = wrong
    said = (failure.text or "").splitlines()
    assert [line.partition(":")[0] for line in said] == [
        *("outcome", "tools", "uses", "never", "files", "files"),
        *("answer_contains", "answer_matches", "max_cost", "max_steps", "max_calls"),
    ]


async def test_a_query_skips_what_has_nothing_to_replay(home: Path) -> None:
    done = await typed(home, "--all", "--json")
    assert done.return_value == 0, done.output
    assert [one["verdict"] for one in json.loads(done.stdout)["replays"]] == ["skipped", "passed"]
    done = await typed(home, "--label", "suite=smoke", "--since", "1h")
    assert (done.return_value, done.stdout.split()[0]) == (0, "skipped")
    done = await typed(home, "--all", "--since", "2099-01-01")
    assert (done.return_value, done.stdout, done.stderr) == (0, "", "no session fits\n")


async def test_a_session_that_is_named_and_cannot_be_replayed_is_an_error(home: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.jsonl").write_text((tmp_path / "good.jsonl").read_text()[:300])
    done = await typed(home, str(tmp_path / "cut.jsonl"), str(tmp_path / "good.jsonl"), "--json")
    assert done.return_value == 1
    assert [one["verdict"] for one in json.loads(done.stdout)["replays"]] == ["error", "passed"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[replay]]\nlog='good.jsonl'\nsession='x'", "a log or a session, and not both"),
        ("[[replay]]", "a log or a session, and not both"),
        ("[[replay]]\nlog='none.jsonl'", "there is no file"),
        ("[[replay]]\nlog='good.jsonl'\nexpect={answer_matches='('}", "is no regular expression"),
        ("[[replay]]\nlog='good.jsonl'\nexpect={files={a='b'}}", 'add tools = "live"'),
        ("[[replay]]\nlog='good.jsonl'\nexpect={contains='b'}", "unknown field `contains`"),
        ("[[replay]", "is no TOML"),
    ],
)
async def test_a_mistake_in_a_suite_is_named(home: Path, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "suite.toml").write_text(text)
    done = await typed(home, str(tmp_path / "suite.toml"))
    assert done.exit_code != 0
    assert said in str(done.exception) + done.output


def test_a_report_can_hold_any_text() -> None:
    found = Replayed(
        session="s",
        agent='a"<&>',
        version="1",
        model="m",
        divergence=Divergence(
            kind="answer", turn=1, step=1, position=1, summary="\x1b[31m]]>\0 <b>", diff="-\ud800\n+é"
        ),
    )
    (case,) = ET.fromstring(junit([Ran("\x07name", found, [])])).iter("testcase")
    assert case.get("name") == "\ufffdname"
    assert "]]>\ufffd <b>" in str(case[0].get("message"))


def test_an_unknown_price_is_not_zero() -> None:
    found = Replayed(session="s", agent="a", version="1", model="m", cost=None)
    assert failures(Expect(max_cost=1.0), found) == ["max_cost: the price is unknown; expected at most $1"]
