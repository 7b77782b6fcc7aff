"""`roost` on a terminal whose screen can be read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("pyte", reason="the terminal emulator of the tests is not installed")

from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call
from tests.cli.conftest import SCRIPT, Machine
from tests.harness.processes import Process
from tests.harness.screen import ScreenTerminal

STORY = "\n\n".join(
    [
        "# A story",
        "There was a **bird** on a `roost`.",
        *(f"Line {number:02} of the story, with some words that wrap on narrow screens." for number in range(40)),
        "```python\ndef sing():\n    return 1\n```",
        "| bird | song |\n|---|---|\n| lark | high |",
        "The end.",
    ]
)
FETCH = "git ls-remote . >/dev/null 2>&1; echo done"
MORE = (
    Rule(
        when="wordy",
        answers=(
            Reply(calls=(Call("shell", {"command": FETCH + " harmless" * 400}),)),
            Reply(text="It ended: {result}"),
        ),
    ),
    Rule(
        when="lined",
        answers=(
            Reply(calls=(Call("shell", {"command": FETCH + "\n# harmless" * 250}),)),
            Reply(text="It ended: {result}"),
        ),
    ),
    Rule(
        when="beside",
        answers=(
            Reply(calls=(Call("shell", {"command": FETCH}), Call("read_file", {"path": "fake.txt"}))),
            Reply(text="Both."),
        ),
    ),
    Rule(when="story", answers=(Reply(text=STORY, piece=8, pace=0.005),)),
    Rule(when="numbers", answers=(Reply(calls=(Call("shell", {"command": "seq 1 200"}),)), Reply(text="Counted."))),
    Rule(
        when="suite",
        answers=(
            Reply(calls=(Call("shell", {"command": "npm test one"}),)),
            Reply(calls=(Call("shell", {"command": "npm test two"}),)),
            Reply(text="Both ran."),
        ),
    ),
    Rule(when="thoughts", answers=(Reply(thinking="A secret thought about birds.", text="I thought."),)),
)


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    with ProviderServer(Script(rules=(*MORE, *SCRIPT.rules))) as server:
        yield server


@pytest.fixture
def talk(roost: Machine) -> Iterator[Callable[..., ScreenTerminal]]:
    """Start `roost` with these arguments; the terminal cuts rows on a resize, as xterm does."""
    open_terminals: list[ScreenTerminal] = []

    def start(*args: str, columns: int = 100, rows: int = 30, env: dict[str, str] | None = None) -> ScreenTerminal:
        order = roost.order(args, {"XTERM_VERSION": "XTerm(390)"} | (env or {}))

        def spawn(slave: int) -> Process:
            return Process(roost.prefork.start(order._replace(terminal=True), slave, slave, slave))

        terminal = ScreenTerminal(spawn, columns=columns, rows=rows)
        open_terminals.append(terminal)
        return terminal

    yield start
    for terminal in open_terminals:
        terminal.close()


@pytest.fixture
def in_shell(roost: Machine) -> Iterator[Callable[..., ScreenTerminal]]:
    """Start a shell with job control on a terminal."""
    shells: list[ScreenTerminal] = []

    def start() -> ScreenTerminal:
        begin = (
            "import os, fcntl, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
            "os.execvp('bash', ['bash', '--norc', '--noprofile', '-i'])"
        )
        env = roost.env | {"XTERM_VERSION": "XTerm(390)", "PS1": "$ ", "OPENAI_API_KEY": "x"}

        def spawn(slave: int) -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [sys.executable, "-c", begin], stdin=slave, stdout=slave, stderr=slave, cwd=roost.work, env=env
            )

        shells.append(ScreenTerminal(spawn))
        return shells[-1]

    yield start
    for shell in shells:
        shell.close()


@pytest.fixture(params=["alone", "daemon"])
def anywhere(request: pytest.FixtureRequest, roost: Machine) -> Machine:
    if request.param == "daemon":
        roost.up()
    return roost
