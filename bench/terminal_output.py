"""`python -m bench.terminal --output`: how fast does a terminal's output reach a reader, and is the screen exact?

A program in a session's sandbox writes a file to its terminal; a client of the WebSocket reads. At the end the client
draws what it has got, and its screen must be that of the node, with the lines above it. Say what else runs on the
machine: the program, the agent in the sandbox, the daemon and the client share its processors.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from roost.client.daemon_address import Endpoint
from roost.client.web_socket import Output, WebSocket
from roost.features.terminals.emulator import Emulator
from roost.features.terminals.queries import Stream
from roost.features.terminals.redraw import above

ROOST = Path(sys.executable).with_name("roost")
_ABOVE = 2000
_DEFINITION = 'name = "bench"\nmodel = "openai/none"\npermissions = "all"\n[isolation]\nrequired = {0}\nprefers = {0}\n'
_TICKS = os.sysconf("SC_CLK_TCK")


class Result(NamedTuple):
    """seconds: from the key that starts the program to the last byte. redraws: times that the client was too slow and
    missed output. daemon, sandbox: seconds of processor time. exact: the client's screen is the node's."""

    seconds: float
    redraws: int
    daemon: float
    sandbox: float
    exact: bool


def corpora(size: int) -> dict[str, bytes]:
    """Return what programs write, about `size` bytes each: plain lines, coloured ones, and a progress bar."""
    dice = random.Random(1)
    plain = [f"line {number} of some plain output {'x' * dice.randrange(60)}\n" for number in range(20_000)]
    colours = [
        f"\x1b[32mok\x1b[0m test_{number} \x1b[1m{'y' * dice.randrange(40)}\x1b[m in {number % 9} ms\n"
        for number in range(20_000)
    ]
    bar = [f"\r\x1b[K\x1b[36m[{'#' * (number % 60):60}]\x1b[0m {number % 101}%" for number in range(20_000)]
    parts = {name: "".join(lines).encode() for name, lines in (("plain", plain), ("coloured", colours), ("bar", bar))}
    return {name: part * max(1, size // len(part)) for name, part in parts.items()}


def main(*, level: int, size: int) -> None:
    print(f"load of the machine: {os.getloadavg()[0]:.1f}, processors: {len(os.sched_getaffinity(0))}")
    given = corpora(size)
    print(f"a pseudo-terminal of this machine, read by a loop in Python: {_raw(given['plain']):.0f} MB/s")
    for name, data in given.items():
        lines = data.replace(b"\n", b"\r\n")
        print(f"{name}: output for clients {_of(_cut, lines):.0f} MB/s, emulation {_of(_emulated, lines):.0f} MB/s")
    with tempfile.TemporaryDirectory() as folder, _daemon(folder, level) as (endpoint, process):
        link, work = WebSocket(endpoint), Path(folder) / "work"
        work.mkdir()
        session = link.ask("sessions.create", agent="bench", workspace=str(work))["id"]
        for name, data in given.items():
            (work / name).write_bytes(data)
            got = _run(link, session, name, process)
            rate = len(data) / got.seconds / 1e6
            cost = 1e9 / len(data)
            print(
                f"{name}: {rate:.1f} MB/s to one reader at level {level}, {got.redraws} redraws, the screen is"
                f" {'exact' if got.exact else 'WRONG'}; processor time: daemon {got.daemon * cost:.0f} ns a byte,"
                f" sandbox {got.sandbox * cost:.0f}"
            )
        link.close()


def _raw(data: bytes) -> float:
    """Return MB/s of the pseudo-terminal itself."""
    ours, theirs = os.openpty()
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        process = subprocess.Popen(["cat", file.name], stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        began, size = time.perf_counter(), 0
        with contextlib.suppress(OSError):
            while piece := os.read(ours, 65536):
                size += len(piece)
        process.wait()
    os.close(ours)
    return size / (time.perf_counter() - began) / 1e6


def _of(work: Any, data: bytes) -> float:
    """Return MB/s of processor time."""
    part = data[: 8 << 20]
    began = time.process_time()
    work(part)
    return len(part) / (time.process_time() - began) / 1e6


def _cut(data: bytes) -> None:
    stream = Stream()
    for at in range(0, len(data), 65536):
        stream.take(data[at : at + 65536])


def _emulated(data: bytes) -> None:
    screen = Emulator(80, 24)
    for at in range(0, len(data), 1 << 20):
        screen.feed(data[at : at + (1 << 20)])


@contextlib.contextmanager
def _daemon(folder: str, level: int) -> Generator[tuple[Endpoint, int]]:
    """A daemon with one agent in a new home. Yields its address and its process number."""
    home = Path(folder) / "home"
    (home / "agents").mkdir(parents=True)
    (home / "agents" / "bench.toml").write_text(_DEFINITION.format(level))
    env = os.environ | {"ROOST_HOME": str(home), "ROOST_OFFLINE": "1", "ROOST_PORT": "0"}
    process = subprocess.Popen([ROOST, "up", "--json"], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        url = msgspec.json.decode(process.stdout.readline())["url"]
        yield Endpoint(url, (home / "token").read_text().strip()), process.pid
    finally:
        process.terminate()
        process.wait()


def _run(link: WebSocket, session: str, file: str, process: int) -> Result:
    """Let a program write a file to a terminal once the client is attached."""
    script = f"read go; cat '{file}'; printf '\\nTHE''END'; read go"
    terminal = link.ask("terminals.open", session=session, command=["sh", "-c", script])["terminal"]
    channel = link.attach(session, terminal, scrollback=_ABOVE)
    parts, redraws = list[bytes](), -1
    link.ask("terminals.type", session=session, terminal=terminal, text="\r")
    before, began = _used(process), time.perf_counter()
    for got in channel:
        if not isinstance(got, Output):
            continue
        if got.redraw:
            redraws += 1
            parts.clear()
        parts.append(got.data)
        if b"THEEND" in got.data[-8000:]:
            break
    seconds, after = time.perf_counter() - began, _used(process)
    screen = Emulator(80, 24)
    for part in parts:
        screen.feed(part)
    shown = link.ask("terminals.screen", session=session, terminal=terminal, scrollback=_ABOVE)["lines"]
    mine = [row.text for row in [*above(screen, _ABOVE), *screen.lines]]
    kept = min(len(shown), len(mine))
    link.ask("terminals.end", session=session, terminal=terminal)
    link.leave(channel.number)
    return Result(seconds, redraws, after[0] - before[0], after[1] - before[1], mine[-kept:] == shown[-kept:])


def _used(process: int) -> tuple[float, float]:
    """Return the seconds of processor time of a process, and of those that it has started."""
    return _seconds(process), sum(_seconds(one) for one in _below(process))


def _seconds(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _below(process: int) -> list[int]:
    try:
        children = [
            int(one) for path in Path(f"/proc/{process}/task").glob("*/children") for one in path.read_text().split()
        ]
    except OSError:
        return []
    return [*children, *(one for child in children for one in _below(child))]
