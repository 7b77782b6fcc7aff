"""`roost attach --tty` and `roost terminal`, at a terminal, with a daemon that may die."""

from __future__ import annotations

import json
import os
import re
import signal
import termios
import time
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.harness.processes import Terminal

from .conftest import Machine


@pytest.fixture
def session(roost: Machine) -> str:
    roost.up()
    roost("run", "hello").ok()
    return roost.newest()["id"]


def modes(terminal: Terminal) -> list[object]:
    return termios.tcgetattr(terminal.master)[:4]


def opened(terminal: Terminal) -> str:
    return re.search(r"terminal (term-\w+)", terminal.expect("detaches"))[1]  # type: ignore[index]


def test_attach_type_detach_and_come_back(roost: Machine, session: str) -> None:
    first = roost.terminal("attach", "--tty", "--name", "ada", "--command", "stty -echo; echo up; exec cat", session)
    before = modes(first)
    name = opened(first)
    first.expect("up")
    assert modes(first) != before
    first.type("heard\r")
    first.expect("heard")
    assert "heard" in roost("terminal", "show", name, session).ok().out
    [shown] = roost("terminal", "list", session, "--json").ok().json
    assert (shown["terminal"], shown["state"], shown["by"], shown["viewers"]) == (name, "running", "ada", ["ada"])
    first.type("\x1d")
    first.expect(f"detached; {name} runs on")
    assert first.wait() == 0
    assert modes(first) == before
    again = roost.terminal("attach", "--tty", session)
    assert opened(again) == name
    again.expect("heard")
    again.type("\x04")
    again.expect(f"{name} ended: exit code 0")
    assert again.wait() == 0
    cast = roost("terminal", "cast", name, session).ok().out
    assert cast.startswith('{"version": 2')
    assert "heard" in cast


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_restores_the_terminal(roost: Machine, session: str, number: int) -> None:
    window = roost.terminal("attach", "--tty", "--command", "printf '\\033[?1049h\\033[?25l'; echo full; cat", session)
    before = modes(window)
    opened(window)
    window.expect("full")
    os.kill(window.process.pid, number)
    assert window.wait() == 128 + number
    assert modes(window) == before
    assert "\x1b[?1049l" in window.raw
    assert window.raw.rindex("\x1b[?25h") > window.raw.rindex("\x1b[?25l")


def test_a_killed_daemon_ends_the_terminal_and_the_log_says_so(roost: Machine, session: str) -> None:
    window = roost.terminal("attach", "--tty", "--command", "echo up; exec cat", session)
    before = modes(window)
    name = opened(window)
    window.expect("up")
    os.kill(roost.daemon_pid(), signal.SIGKILL)
    roost.up()
    window.expect("has ended")
    assert window.wait() == 1
    assert modes(window) == before
    [shown] = roost("terminal", "list", session, "--json").ok().json
    assert (shown["terminal"], shown["state"]) == (name, "ended")
    roost("run", "--session", session, "hello").ok()
    said = roost("logs", session, "--json").ok().out
    assert "the daemon ended, or lost the session, while it ran" in said


def asked(roost: Machine, method: str, path: str, body: Any = None, **more: str) -> Any:
    url = json.loads((roost.home / "daemon.json").read_text())["url"]
    token = (roost.home / "token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **more}
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url + path, data, headers, method=method), timeout=60) as answer:
        return json.load(answer)


def test_a_command_that_a_killed_daemon_cut_off_is_not_run_again(roost: Machine, session: str) -> None:
    trace = roost.work / "trace"
    order = {"command": ["sh", "-c", "echo x >> trace; sleep 600"], "seconds": 600}
    path = f"/sessions/{session}/sandbox"
    reply = asked(roost, "POST", f"{path}/exec", order, Prefer="wait=0")
    assert reply["status"] == "accepted"
    roost.until_made("trace")
    os.kill(roost.daemon_pid(), signal.SIGKILL)
    roost.up()
    deadline = time.monotonic() + 60
    while "it is not known whether it took effect" not in roost("logs", session, "--json").ok().out:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert trace.read_text() == "x\n"
    assert asked(roost, "GET", path)["state"] in ("none", "running")
