"""`python -m bench.terminal`: how long from a key to its echo while a model streams, and to the first prompt?

Runs `roost` on a pseudo-terminal against the scripted provider, which streams 200 tokens a second, presses a key every
50 to 90 ms, and reads when its echo comes. Say what else runs on the machine when you report the numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import pty
import random
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Generator
from pathlib import Path

import msgspec

from roost.stub.script import Reply, Rule, Script

ROOST = Path(sys.executable).with_name("roost")
RATE = 200
"""Tokens a second; one is about five characters."""
WORDS = " ".join(f"w{number:03}" for number in range(RATE * 60))
SCRIPT = Script(
    rules=(Rule(when="go", answers=(Reply(text=WORDS, piece=5, pace=1 / RATE),)), Rule(answers=(Reply(text="ok"),)))
)


class Terminal:
    """`roost` on a terminal of its own, 100 by 30."""

    def __init__(self, env: dict[str, str], folder: str) -> None:
        self.began = time.perf_counter()
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
            os.execve(ROOST, [str(ROOST)], env)
        self.seen = b""

    def until(self, wanted: bytes, timeout: float = 60.0) -> float:
        """Read until `wanted` comes. Returns when it came."""
        deadline = time.perf_counter() + timeout
        while wanted not in self.seen:
            if not select.select([self.master], [], [], max(0, deadline - time.perf_counter()))[0]:
                raise TimeoutError(f"no {wanted!r} in {self.seen[-500:]!r}")
            self.seen += os.read(self.master, 65536)
        now = time.perf_counter()
        self.seen = self.seen.partition(wanted)[2]
        return now

    def press(self, key: str) -> float:
        """Press a key behind the draft. Returns the seconds until the terminal shows it."""
        self.drain()
        began = time.perf_counter()
        os.write(self.master, key.encode())
        return self.until(key.encode()) - began

    def drain(self, seconds: float = 0.0) -> None:
        until = time.perf_counter() + seconds
        while select.select([self.master], [], [], max(0.0, until - time.perf_counter()))[0]:
            os.read(self.master, 65536)
        self.seen = b""

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGTERM)
        with contextlib.suppress(OSError):
            while os.read(self.master, 65536):
                pass
        os.close(self.master)
        os.waitpid(self.pid, 0)


def main() -> None:
    options = _options()
    if options.output:
        from bench import terminal_output

        terminal_output.main(level=options.level, size=options.output << 20)
        return
    print(f"load of the machine: {os.getloadavg()[0]:.1f}, processors: {len(os.sched_getaffinity(0))}")
    for daemon in (True, False):
        with (
            tempfile.TemporaryDirectory() as folder,
            _provider(folder) as url,
            _home(url, daemon) as env,
        ):
            starts = sorted(_start(env, folder) for _ in range(options.starts))
            print(f"{'with' if daemon else 'without'} a daemon: first prompt {starts[0]:.2f} to {starts[-1]:.2f} s")
            echoes = sorted(_echoes(env, folder, options.keys))
            print(
                f"  key to echo at {RATE} tokens/s: p50 {_at(echoes, 0.5):.1f} ms, p99 {_at(echoes, 0.99):.1f} ms,"
                f" most {echoes[-1] * 1000:.1f} ms ({len(echoes)} keys)"
            )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.terminal", description=__doc__)
    parser.add_argument("--keys", type=int, default=300)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument(
        "--output", type=int, metavar="MB", help="measure the output of a terminal instead, so much of each kind"
    )
    parser.add_argument("--level", type=int, default=1, help="of the sandbox, with --output")
    return parser.parse_args()


@contextlib.contextmanager
def _provider(folder: str) -> Generator[str]:
    """The scripted provider, in a process of its own. Yields its address."""
    script = Path(folder) / "script.json"
    script.write_bytes(msgspec.json.encode(SCRIPT))
    command = [ROOST, "stub", "--port", "0", "--script", script]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().split()[-1]
    try:
        yield url
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def _home(provider: str, daemon: bool) -> Generator[dict[str, str]]:
    """A new home, with a daemon or without one; as an environment."""
    with tempfile.TemporaryDirectory() as home:
        env = os.environ | {
            "ROOST_HOME": home, "ROOST_MODEL": "openai/scripted", "OPENAI_BASE_URL": provider, "OPENAI_API_KEY": "x",
            "ROOST_OFFLINE": "1", "ROOST_PORT": "0", "TERM": "xterm-256color",
        }  # fmt: skip
        process = None
        if daemon:
            process = subprocess.Popen(
                [ROOST, "up", "--json"], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            assert process.stdout is not None
            process.stdout.readline()
        try:
            yield env
        finally:
            if process is not None:
                process.terminate()
                process.wait()


def _start(env: dict[str, str], folder: str) -> float:
    terminal = Terminal(env, folder)
    try:
        return terminal.until(b"> ") - terminal.began
    finally:
        terminal.close()


def _echoes(env: dict[str, str], folder: str, keys: int) -> list[float]:
    terminal = Terminal(env, folder)
    chance = random.Random(7)
    try:
        terminal.until(b"workspace")  # the session is open
        os.write(terminal.master, b"go\r")
        terminal.until(b"w010")
        found: list[float] = []
        for number in range(keys):
            terminal.drain(chance.uniform(0.05, 0.09))
            if number % 40 == 39:
                os.write(terminal.master, b"\x15")  # an empty line again
                terminal.drain(0.1)
            found.append(terminal.press(chance.choice("ABCDEFGHJKLMNPQRSTUVXYZ")))
        return found
    finally:
        terminal.close()


def _at(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))] * 1000


if __name__ == "__main__":
    main()
