"""The real executable in a fresh home and folder, with the stub provider as its model."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roost.testing.provider import ProviderServer
from roost.testing.script import Reply, Rule, Script
from roost.testing.scripted import Call

ROOST = str(Path(sys.executable).with_name("roost"))
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\r")

WORDS = " ".join(f"w{number}" for number in range(40))

SCRIPT = Script(
    rules=(
        Rule(
            when="files",
            answers=(
                Reply(text="Let me look.", calls=(Call("list_files"),)),
                Reply(text="I found: {result}"),
            ),
        ),
        Rule(
            when="make",
            answers=(
                Reply(calls=(Call("shell", {"command": "echo made >> made.txt; echo done"}),)),
                Reply(text="The result: {result}"),
            ),
        ),
        Rule(
            when="twice",
            answers=(
                Reply(calls=(Call("shell", {"command": "echo one"}),)),
                Reply(calls=(Call("shell", {"command": "echo two"}),)),
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
                Reply(calls=(Call("shell", {"command": "env; cat /proc/$PPID/environ || echo HOME="}),)),
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
            when="delegate",
            answers=(
                Reply(calls=(Call("task", {"agent": "worker", "prompt": "make it"}),)),
                Reply(text="They said: {result}"),
            ),
        ),
        Rule(when="words", answers=(Reply(text=WORDS, pace=0.1, piece=4),)),
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


class Terminal:
    """A process with a terminal of its own."""

    def __init__(self, argv: list[str], *, cwd: Path, env: dict[str, str]) -> None:
        master, slave = os.openpty()
        take = "import fcntl,os,sys,termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
        self.process = subprocess.Popen(
            [sys.executable, "-c", take, *argv],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )
        os.close(slave)
        self._master = master
        self.raw = ""
        self._seen = 0

    @property
    def text(self) -> str:
        return _ANSI.sub("", self.raw)

    def expect(self, wanted: str, timeout: float = 20.0) -> str:
        """Wait for `wanted` in what came since the last `expect`; returns what came up to it."""
        deadline = time.monotonic() + timeout
        while wanted not in self.text[self._seen :]:
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"no {wanted!r} in:\n{self.text[self._seen :]}\n(all:\n{self.text})")
        begin = self._seen
        self._seen = self.text.index(wanted, begin) + len(wanted)
        return self.text[begin : self._seen]

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait(self, timeout: float = 20.0) -> int:
        deadline = time.monotonic() + timeout
        while self._read(max(0.0, deadline - time.monotonic())):
            pass
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def _read(self, timeout: float) -> bool:
        if timeout <= 0 or not select.select([self._master], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:
            return False
        self.raw += data.decode("utf-8", "replace")
        return bool(data)


class Machine:
    """A home, a folder, and the command in it."""

    def __init__(self, root: Path, base_url: str) -> None:
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
        self._terminals: list[Terminal] = []
        self._processes: list[subprocess.Popen[str]] = []

    def __call__(self, *args: str, stdin: str = "", env: dict[str, str] | None = None, timeout: float = 60) -> Result:
        done = subprocess.run(
            [ROOST, *args],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self.work,
            env=self.env | (env or {}),
            timeout=timeout,
        )
        assert "Traceback" not in done.stderr
        return Result(done)

    def start(self, *args: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [ROOST, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.work,
            env=self.env,
        )
        self._processes.append(process)
        return process

    def terminal(self, *args: str, env: dict[str, str] | None = None) -> Terminal:
        terminal = Terminal([ROOST, *args], cwd=self.work, env=self.env | (env or {}))
        self._terminals.append(terminal)
        return terminal

    def newest(self) -> dict[str, Any]:
        return self("ps", "--all", "--json", "-n", "1").ok().json[0]

    def until(self, phase: str, timeout: float = 15.0) -> dict[str, Any]:
        """Wait until the newest session is in this phase (or state)."""
        deadline = time.monotonic() + timeout
        while True:
            info = self.newest()
            if phase in (info["phase"], info["state"]):
                return info
            assert time.monotonic() < deadline, info
            time.sleep(0.1)

    def until_made(self, name: str, timeout: float = 15.0) -> None:
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
            if process.poll() is None:
                process.kill()
            process.communicate()
        with contextlib.suppress(OSError, ValueError):
            os.kill(self.daemon_pid(), signal.SIGKILL)


@pytest.fixture(scope="session")
def provider() -> Iterator[ProviderServer]:
    with ProviderServer(SCRIPT) as server:
        yield server


@pytest.fixture
def roost(tmp_path: Path, provider: ProviderServer) -> Iterator[Machine]:
    machine = Machine(tmp_path, provider.url)
    try:
        yield machine
    finally:
        machine.close()
