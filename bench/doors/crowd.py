"""Many streams of one door at once, and what another client notices of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import NamedTuple

import msgspec
from tests.harness.doors.clients import CLIENTS, Client, Own
from tests.harness.doors.transport import Address, Cut, Loopback

from bench.doors.gateway import GATEWAYS, provider

_TEXT = "a word or two " * 20
_AGENT = """
from roost import Agent
from roost.testing.scripted import Answer, ScriptedModel
clerk = Agent("clerk", model=ScriptedModel(lambda _: Answer(text={text!r}, piece=40, pace={pace}), deltas=True))
"""
_TICK = os.sysconf("SC_CLK_TCK")


class Crowd(NamedTuple):
    """What many conversations at once took. seconds: until all were answered. cpu: ms of the daemon for each. peak: its
    memory, MiB. probe: the median request of another client meanwhile, ms."""

    answered: int
    seconds: float
    cpu: float
    peak: float
    probe: float


class Daemon:
    def __init__(self, pid: int, address: Address) -> None:
        self.pid, self.address = pid, address
        self.http = Loopback(lambda: address, silence=300.0)

    @property
    def cpu(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    @property
    def peak(self) -> float:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


@contextlib.asynccontextmanager
async def daemon(pace: float) -> AsyncGenerator[Daemon]:
    """Run a daemon, whose agent and whose model take `pace` seconds for each of 7 pieces of their answers."""
    with tempfile.TemporaryDirectory() as folder, provider(_TEXT, pace) as model:
        home = Path(folder) / "home"
        (Path(folder) / "agents.py").write_text(_AGENT.format(text=_TEXT, pace=pace))
        command = [str(Path(sys.executable).with_name("roost")), "up", "--agents", "agents.py", "--port", "0"]
        environment = {**os.environ, "ROOST_HOME": str(home), "OPENAI_API_KEY": "stub", "OPENAI_BASE_URL": model.url}
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env=environment,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            while not (home / "daemon.json").exists():
                assert process.returncode is None
                await asyncio.sleep(0.05)
            found = msgspec.json.decode((home / "daemon.json").read_bytes())
            host, _, port = found["url"].removeprefix("http://").partition(":")
            yield Daemon(process.pid, Address(host, int(port), (home / "token").read_text().strip()))
        finally:
            process.terminate()
            await process.wait()


async def crowd(door: str, count: int) -> Crowd:
    """Hold `count` conversations through a door, with one turn each, all at once."""
    _open_files()
    async with daemon(pace=1.0) as served:
        await turn(served, Own("clerk", "warm"))
        clients = [{**CLIENTS, **GATEWAYS}[door]("clerk", f"{door}-{number}") for number in range(count)]
        before, began = served.cpu, time.monotonic()
        probe = await Probe.start(served)
        answers = await asyncio.gather(*(turn(served, client) for client in clients))
        seconds = time.monotonic() - began
        cpu = 1e3 * (served.cpu - before) / count
        return Crowd(sum(answers), seconds, cpu, served.peak, (await probe.end())[0])


async def turn(served: Daemon, client: Client) -> bool:
    """Return whether the client was answered, over any number of refusals."""
    try:
        for _ in range(100):
            with contextlib.suppress(Cut):
                return bool(await client.say(served.http, f"hello {client.name}"))
            await asyncio.sleep(0.5)
        return False
    finally:
        await client.leave()


class Probe:
    """Another client, in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, served: Daemon) -> Probe:
        host, port, token = served.address
        command = [sys.executable, "-m", "bench.doors.probe", host, str(port), str(token)]
        pipes = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*command, stdin=pipes, stdout=pipes))

    async def end(self) -> tuple[float, float]:
        """Return the median and the longest time of its requests, in milliseconds."""
        said, _ = await self._process.communicate(b"")  # which closes its input
        median, longest = said.split()
        return float(median), float(longest)


def _open_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
