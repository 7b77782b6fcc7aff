"""The real executable in a fresh home and folder, with the stub provider as its model."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, Reply, Rule, Script
from roost.testing.scripted import Call
from tests.harness.prefork import SCRIPT as ROOST
from tests.harness.prefork import Order
from tests.harness.processes import Prefork, Process, Terminal, run, start

_AT_ITS_START = ("PYTHON", "LANG", "LC_")
"""Beginnings of the names of variables that an interpreter reads once."""

LOOK = "import os; print(open(os.sep + os.path.join('proc', str(os.getppid()), 'environ')).read())"
"""Reads the environment of the process around a command. The policy denies the plain form of it."""

WORDS = " ".join(f"w{number}" for number in range(40))
"""An answer that does not go on after a part of it, the first time: who asks again gets it whole."""

SCRIPT = Script(
    rules=(
        Rule(
            when="files",
            answers=(
                Reply(text="Let me look.", calls=(Call("list_files"),)),
                Reply(text="I found: {result}"),
            ),
        ),
        Rule(when="own tool", answers=(Reply(calls=(Call("own_files"),)), Reply(text="I found: {result}"))),
        Rule(
            when="make",
            answers=(
                Reply(
                    calls=(
                        Call("shell", {"command": "echo made >> made.txt; git ls-remote . >/dev/null 2>&1; echo done"}),
                    )
                ),
                Reply(text="The result: {result}"),
            ),
        ),
        Rule(
            when="twice",
            answers=(
                Reply(calls=(Call("shell", {"command": "git ls-remote . >/dev/null 2>&1; echo one"}),)),
                Reply(calls=(Call("shell", {"command": "git ls-remote . >/dev/null 2>&1; echo two"}),)),
                Reply(text="Both: {result}"),
            ),
        ),
        Rule(
            when="sleep",
            answers=(
                Reply(calls=(Call("shell", {"command": "sleep 20"}),)),
                Reply(text="Slept: {result}"),
            ),
        ),
        Rule(
            when="wait",
            answers=(
                Reply(calls=(Call("shell", {"command": "touch begun; until [ -e go ]; do sleep 0.1; done"}),)),
                Reply(text="Waited: {result}"),
            ),
        ),
        Rule(
            when="environ",
            answers=(
                Reply(calls=(Call("shell", {"command": f'env; {sys.executable} -c "{LOOK}" || echo HOME='}),)),
                Reply(text="It holds: {result}"),
            ),
        ),
        Rule(
            when="token",
            answers=(
                Reply(
                    calls=(
                        Call("read_file", {"path": "home/token"}),
                        Call("grep", {"pattern": "."}),
                        Call("list_files", {"path": "home"}),
                        Call("write_file", {"path": "home/agents/x.md", "content": "x"}),
                    )
                ),
                Reply(text="I looked."),
            ),
        ),
        Rule(
            when="correct",
            answers=(
                Reply(calls=(Call("read_file", {"path": "notes.txt"}),)),
                Reply(calls=(Call("edit_file", {"path": "notes.txt", "old": "old", "new": "new"}),)),
                Reply(text="Corrected: {result}"),
            ),
        ),
        Rule(
            when="delegate",
            answers=(
                Reply(calls=(Call("task", {"agent": "worker", "prompt": "make it"}),)),
                Reply(text="They said: {result}"),
            ),
        ),
        Rule(when="nothing but the notes", answers=(Reply(text="We talked."),)),
        Rule(when="words", answers=(Reply(text=WORDS, piece=4, fault=Fault(kind="stall", at=4000, seconds=60)),)),
        Rule(when="escape", answers=(Reply(text="plain \x1b]0;owned\x07\x1b[31mred"),)),
        Rule(answers=(Reply(text="You said: {input}"),)),
    )
)


class Result:
    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def ok(self) -> Result:
        assert self.code == 0, f"exit {self.code}\n{self.out}\n{self.err}"
        return self


class Machine:
    """A home, a folder, and the command in it."""

    def __init__(self, root: Path, base_url: str, prefork: Prefork) -> None:
        self.home, self.work = root / "home", root / "work"
        self.work.mkdir(parents=True)
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        self.env = keep | {
            "ROOST_HOME": str(self.home),
            "ROOST_PORT": "0",
            "ROOST_MODEL": "openai/scripted",
            "OPENAI_BASE_URL": base_url,
            "TERM": "xterm",
            "ROOST_OFFLINE": "1",
            "ROOST_CACHE": str(root / "cache"),
        }
        self.prefork = prefork
        self._terminals: list[Terminal] = []
        self._processes: list[Process] = []

    def __call__(
        self,
        *args: str,
        stdin: str = "",
        env: dict[str, str] | None = None,
        timeout: float = 100,
        executable: bool = False,
    ) -> Result:
        """`executable`: the file itself, and not a copy of a process that has read it."""
        if executable or any(name.startswith(_AT_ITS_START) for name in env or ()):
            done = subprocess.run(
                [ROOST, *args],
                input=stdin,
                capture_output=True,
                text=True,
                cwd=self.work,
                env=self.env | (env or {}),
                timeout=timeout,
            )
        else:
            done = run(self.prefork, self.order(args, env), stdin, timeout)
        assert "Traceback" not in done.stderr
        return Result(done)

    def order(self, args: tuple[str, ...], env: dict[str, str] | None = None) -> Order:
        return Order(list(args), str(self.work), self.env | (env or {}))

    def completed(self, line: str) -> list[str]:
        """Return what bash offers for the last word of a line."""
        words = line.split()
        env = self.env | {"_ROOST_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        done = subprocess.run([ROOST], env=env, cwd=self.work, capture_output=True, text=True, check=True)
        return [row.partition(",")[2] for row in done.stdout.splitlines()]

    def start(self, *args: str) -> Process:
        process = start(self.prefork, self.order(args))
        self._processes.append(process)
        return process

    def up(self, *args: str) -> None:
        """A daemon of this home, for tests of what it serves: begun as any process here."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.home / "daemon.log").open("ab") as log:
            daemon = start(self.prefork, self.order(("up", "--json", *args)), stderr=log.fileno())
        self._processes.append(daemon)
        assert daemon.stdout is not None
        assert daemon.stdout.readline(), (self.home / "daemon.log").read_text()

    def terminal(self, *args: str, env: dict[str, str] | None = None) -> Terminal:
        terminal = Terminal(self.prefork, self.order(args, env))
        self._terminals.append(terminal)
        return terminal

    def newest(self) -> dict[str, Any]:
        return self("ps", "--all", "--json", "-n", "1").ok().json[0]

    def until(self, phase: str, timeout: float = 60.0) -> dict[str, Any]:
        """Wait until the newest session is in this phase (or state)."""
        deadline = time.monotonic() + timeout
        while True:
            info = self.newest()
            if phase in (info["phase"], info["state"]):
                return info
            assert time.monotonic() < deadline, info
            time.sleep(0.1)

    def until_made(self, name: str, timeout: float = 60.0) -> None:
        """Wait until this file is in the folder of the work."""
        deadline = time.monotonic() + timeout
        while not (self.work / name).exists():
            assert time.monotonic() < deadline, name
            time.sleep(0.1)

    def daemon_pid(self) -> int:
        return int(json.loads((self.home / "daemon.json").read_text())["pid"])

    def close(self) -> None:
        for terminal in self._terminals:
            terminal.close()
        for process in self._processes:
            process.kill()
            process.communicate()
        with contextlib.suppress(OSError, ValueError):
            os.kill(self.daemon_pid(), signal.SIGKILL)


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    with ProviderServer(SCRIPT) as server:
        yield server


@pytest.fixture
def roost(tmp_path: Path, provider: ProviderServer, prefork: Prefork) -> Iterator[Machine]:
    machine = Machine(tmp_path, provider.url, prefork)
    try:
        yield machine
    finally:
        machine.close()
