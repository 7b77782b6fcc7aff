"""What a person sees of commands in the background: they run on in a daemon, and else end with the command."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call
from tests.harness.processes import Prefork

from .conftest import Machine

_COMMAND = "until [ -e go ]; do sleep 0.1; done; echo out; exit 3"
_SCRIPT = Script(
    rules=(
        Rule(when="job-", answers=(Reply(text="Heard: {input}"),)),
        Rule(
            when="begin", answers=(Reply(calls=(Call("shell_start", {"command": _COMMAND}),)), Reply(text="It runs."))
        ),
    )
)


@pytest.fixture
def roost(tmp_path: Path, prefork: Prefork) -> Iterator[Machine]:
    with ProviderServer(_SCRIPT) as provider:
        machine = Machine(tmp_path, provider.url, prefork)
        (machine.home / "agents").mkdir(parents=True)
        (machine.home / "agents" / "runner.toml").write_text('tools = ["shell_start"]\npermissions = "all"\n')
        try:
            yield machine
        finally:
            machine.close()


def test_with_a_daemon_it_runs_on_and_its_end_is_answered(roost: Machine) -> None:
    roost.up()
    done = roost("run", "runner", "begin").ok()
    assert done.out == "It runs.\n"
    assert re.search(r"job-\w+ runs on in the daemon: until ", done.err)
    assert roost.newest()["phase"] == "working"
    assert re.search(r"\n  job-\w+ +runs +.*until ", roost("ps", "--tree").ok().out)
    assert re.search(r"runs +job-\w+ until .*, since", roost("show").ok().out)
    (roost.work / "go").touch()
    roost.until("idle")
    shown = roost("show").ok().out
    assert re.search(r'> \[job-\w+ "until .*" has ended: exit code 3 after \d+ s\]\nout', shown)
    assert "Heard: " in shown


def test_without_one_it_ends_with_the_command_and_the_next_hears_of_it(roost: Machine) -> None:
    done = roost("run", "runner", "begin").ok()
    assert re.search(r"job-\w+ ends with this command", done.err)
    session = roost.newest()
    assert (session["phase"], session["pending"]) == ("idle", 1)
    assert roost("run", "--session", session["id"], "and now?").ok().out
    shown = roost("show", "-n", "20").ok().out
    assert shown.count(" was stopped after ") >= 1
    deadline = time.monotonic() + 10
    while roost.newest()["pending"]:
        assert time.monotonic() < deadline
