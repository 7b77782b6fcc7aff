"""How much CPU does a hosted agent cost, beside the same turn of its framework alone? `python -m bench.frameworks`.

The same agent answers the same turn against the same provider, in turns: bare, in a process of its own that asks the
provider by itself, and hosted, as a session of a daemon in this process. CPU is that of the agent's process without
its imports (`child`), and for a hosted turn that of this process, too, less what the provider in it took. A turn of
Roost's own agent with the same answers shows how much of that a session costs without a framework."""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.doors.test_anthropic_gateway_mode import TOML
from tests.frameworks.hosting import AGENTS, SCRIPT, SOURCE, hosted, share_environments

from roost import Agent, Runtime
from roost.features.frameworks.installations import RUNNER, InstalledAgents
from roost.kernel.config import KernelConfig
from roost.log import events as ev
from roost.server.app import build_app
from roost.tools.function import tool

_TICK = os.sysconf("SC_CLK_TCK")
_BARE = """
import asyncio, importlib, sys, time
sys.path[:0] = [{source!r}, {runner!r}]
sys.argv[1:] = [{framework!r}, {object!r}, {source!r}]
from roost_bridge import serve, gate
adapter = importlib.import_module("roost_bridge.adapters." + serve.ADAPTERS[{framework!r}])
if {framework!r} == "python":
    import roost_bridge
    roost_bridge.tool = lambda function: function
module, _, name = {object!r}.partition(":")
agent = getattr(importlib.import_module(module), name)
runner = asyncio.Runner()  # one loop for all turns: clients that a module has made belong to it
for line in sys.stdin:
    began = time.process_time()
    runner.run(adapter.run(agent, "WORK please", []))
    print("took", time.process_time() - began, flush=True)
"""


class Bare:
    """The agent in a process of its own, without Roost. A turn is a line of its input."""

    def __init__(self, framework: str, python: str, url: str, folder: str) -> None:
        text = _BARE.format(
            framework=framework, object=AGENTS[framework]["object"], source=str(SOURCE), runner=str(RUNNER)
        )
        env = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "k", "PATH": os.environ["PATH"], "HOME": folder}
        env |= {"PYTHONHASHSEED": "0", "OPENAI_AGENTS_DISABLE_TRACING": "1", "LANGSMITH_TRACING": "false"}
        self._process = subprocess.Popen(
            [python, "-B", "-c", text], env=env, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def turn(self) -> float:
        """Return the CPU seconds of a turn."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("took "):
                return float(line.split()[1])
        raise RuntimeError("the agent has ended")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Hosted:
    """Sessions of a runtime in this process, each with its program, which is warm from its second turn on."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._turns: dict[str, int] = {}

    async def turn(self, agent: str) -> tuple[float, float]:
        """Return the CPU seconds of a turn: of this process, and of the agent's."""
        sessions = self._runtime.sessions
        number = self._turns[agent] = self._turns.get(agent, 0) + 1
        if number == 1:
            await sessions.create(agent, id=agent, key=agent)
        before, own = _children(), time.process_time()
        await sessions.send(agent, "WORK please", key=f"{agent}-{number}")
        while True:
            ends = [one.event for one in await sessions.history(agent) if isinstance(one.event, ev.TurnCompleted)]
            if len(ends) >= number:
                break
            await asyncio.sleep(0.05)
        assert ends[-1].outcome == "answered", ends[-1].reason
        await asyncio.sleep(0.6)  # for the end of the copy that did the run
        return time.process_time() - own, _children() - before


def _children() -> float:
    """Return the CPU seconds of all processes below this one, living or waited for, but for bare agents."""
    found = 0.0
    parents: dict[int, tuple[int, float]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            parents[int(name)] = int(fields[1]), sum(map(int, fields[11:15])) / _TICK
    mine = {os.getpid()}
    while more := {pid for pid, (parent, _) in parents.items() if parent in mine and pid not in mine}:
        mine |= more
    for pid in mine - {os.getpid()} - _spared:
        found += parents[pid][1]
    return found


_spared: set[int] = set()
"""Processes that are no part of a hosted turn: bare agents, and the provider."""


@contextmanager
def provider() -> Iterator[str]:
    """Run the provider in a process of its own. Yields its base URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.frameworks", "--provider"],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    _spared.add(process.pid)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


async def measure(frameworks: Sequence[str], rounds: int, cache: Path) -> None:
    os.environ.setdefault("ONE_KEY", "k")
    with tempfile.TemporaryDirectory() as folder, provider() as url:
        home = Path(folder) / "home"
        share_environments(home, cache)
        (home / "models.toml").write_text(TOML.format(url=url, wire="openai_chat"))
        installed, bare = InstalledAgents(home), dict[str, Bare]()
        agents = [Agent("own", model="one/m", tools=_tools(), permissions="all")]
        for name in frameworks:
            options = hosted(name, isolation={"prefers": 0})
            made = Agent(name, model="one/m", **options)
            agents.append(made)
            python = (await installed.environment(made.spec)).python
            place = Path(folder) / f"bare-{name}"
            place.mkdir()
            bare[name] = Bare(name, python, url, str(place))
            _spared.add(bare[name]._process.pid)
        async with Runtime(home, agents=agents, config=KernelConfig(linger=1.0)) as runtime:
            build_app(runtime, token="token")
            await _rounds(Hosted(runtime), bare, frameworks, rounds)
        for one in bare.values():
            one.close()


async def _rounds(there: Hosted, bare: dict[str, Bare], frameworks: Sequence[str], rounds: int) -> None:
    took: dict[str, list[tuple[float, float, float]]] = {name: [] for name in frameworks}
    own: list[float] = []
    for name in frameworks:  # one after the other: a program waits for its next turn for a minute only
        for number in range(rounds + 1):
            here, _ = await there.turn("own")
            own.append(here)
            alone = await asyncio.to_thread(bare[name].turn)
            host, child = await there.turn(name)
            if number:  # the first turns import, and start the program
                took[name].append((alone, host, child))
    _say(f"a turn of Roost's own agent with the same answers and tools: {1e3 * statistics.median(own[1:]):.0f} ms")
    _say(
        "| framework | alone, ms of CPU | hosted: its program | hosted: the daemon | ratio of all |\n"
        + "| --- " * 5
        + "|"
    )
    for name, rows in took.items():
        alone, host, child = (1e3 * statistics.median(column) for column in zip(*rows, strict=True))
        _say(f"| {name} | {alone:.0f} | {child:.0f} | {host:.0f} | {(host + child) / alone:.2f} |")


def _tools() -> list[Any]:
    @tool(replay="safe", safety="read_only")
    def look(what: str) -> str:
        """Look at something."""
        return f"seen {what}"

    @tool
    def pay(amount: int) -> str:
        """Pay an amount."""
        time.sleep(0.05)
        return f"paid {amount}"

    return [look, pay]


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _provide() -> None:
    from roost.stub.provider import ProviderServer

    with ProviderServer(SCRIPT) as server:
        _say(server.url)
        threading.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.frameworks", description=__doc__)
    parser.add_argument("--frameworks", nargs="*", default=list(AGENTS), choices=list(AGENTS))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "roost-bench-environments")
    parser.add_argument("--provider", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.provider:
        _provide()
        return
    _say(f"load of the machine: {os.getloadavg()[0]:.1f}, processors: {len(os.sched_getaffinity(0))}")
    asyncio.run(measure(options.frameworks, options.rounds, options.cache))


if __name__ == "__main__":
    main()
