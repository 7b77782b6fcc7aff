"""A person who takes a while to answer: longer than a session stays awake, and longer than a daemon lives."""

from __future__ import annotations

import os
import signal
import time

import pytest

from .conftest import Machine

PAUSE = 2.5
"""Seconds. A session sleeps after one."""


@pytest.fixture(autouse=True)
def _asks(roost: Machine) -> None:
    """About an edit, also where a wall makes it harmless."""
    roost.home.mkdir(parents=True)
    (roost.home / "policy.toml").write_text('[[rules]]\neffect = "ask"\ntool = "edit_file"\n')


@pytest.mark.parametrize("command", ["run", "chat"])
@pytest.mark.parametrize("where", ["alone", "daemon"])
def test_an_edit_is_allowed_after_a_pause(roost: Machine, command: str, where: str) -> None:
    (roost.work / "notes.txt").write_text("old\n")
    if where == "daemon":
        roost.up()
    terminal = roost.terminal(command, *(["correct it"] if command == "run" else ["--plain"]))
    if command == "chat":
        terminal.expect("> ")
        terminal.type("correct it\n")
    terminal.expect("edit_file")
    terminal.expect("]es")
    time.sleep(PAUSE)
    terminal.type("y\n")
    terminal.expect("Corrected: Edited notes.txt")
    assert (roost.work / "notes.txt").read_text() == "new\n"


def test_an_edit_is_allowed_after_the_daemon_was_killed(roost: Machine) -> None:
    (roost.work / "notes.txt").write_text("old\n")
    roost.up()
    session = roost("run", "hello", "--json").ok().json["session"]
    roost("send", session, "please correct it").ok()
    roost.until("waiting")
    os.kill(roost.daemon_pid(), signal.SIGKILL)
    roost("up", "-d").ok()
    roost("approve", session).ok()
    roost.until("idle")
    assert "Corrected: Edited notes.txt" in roost("show", session).ok().out
    assert (roost.work / "notes.txt").read_text() == "new\n"
