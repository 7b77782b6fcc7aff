"""Starting, and doing nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import peers
from bench.contest import Contestant, contest
from bench.numbers import figure, median, percentile
from bench.proc import ROOT, environment, memory_mb, running
from bench.report import Bar, Section, Table
from bench.settings import Settings
from bench.wire import Connection, free_port, wait_for

ABOUT = """\
Cold start: from the command to the first 200 of /health, a fresh home each time (Roost makes its store and token in \
it), looked for every 5 ms. Idle: some seconds after the start, no request since; resident memory, and proportional \
(shared pages counted in part). A provider's key is set, so that the local model is neither fetched nor loaded. \
Sleeping sessions have had a turn each."""


def run(settings: Settings) -> Section:
    section = Section("Starting and idling", ABOUT)
    with tempfile.TemporaryDirectory(prefix="roost-bench-") as folder:
        base = Path(folder)
        _starts(section, settings, base)
        _idle(section, settings, base)
    _commands(section, settings)
    return section


def _starts(section: Section, settings: Settings, base: Path) -> None:
    commands = {"Roost": _roost}
    if settings.peers and peers.has("termo_agent"):
        commands["termo-agent, canned adapter"] = _termo
    if settings.peers and peers.has("agent_runtime"):
        commands["agentd"] = _agentd
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(settings.pick(7, 1)):
        for name, command in commands.items():
            home, port = base / f"{name.split(',')[0]}-{number}", free_port()
            home.mkdir()
            with running(command(home, port), env=environment(HOME=str(home)), log=base / "log"):
                seconds[name].append(wait_for(port))
            print(f"  start {number + 1}  {name}: {seconds[name][-1]:.2f} s", flush=True)
    rows = [[name, figure(median(found)), figure(min(found))] for name, found in seconds.items()]
    section.tables.append(Table(["cold start to /health", "p50 s", "best s"], rows))
    section.bars.append(Bar("cold start to health: at most 0.6 s", median(seconds["Roost"]), 0.6, unit=" s"))
    section.data["start_s"] = seconds


def _idle(section: Section, settings: Settings, base: Path) -> None:
    many = settings.pick(10_000, 20)
    empty, full = base / "empty", base / "full"
    with contest([Contestant("sleepers", "bench.workers.roost_sleepers")]) as (ready, _):
        answer = ready[0].play(home=str(full), sessions=many)
        if "error" in answer:
            raise RuntimeError(answer["error"])
    found: dict[str, list[dict[str, Any]]] = {"none": [], f"{many:,}": []}
    for _ in range(settings.pick(3, 1)):
        for name, home in zip(found, (empty, full), strict=True):
            found[name].append(_rest(home, base / "log", settings))
            print(f"  idle with {name} sessions: {found[name][-1]['rss']:.1f} MB", flush=True)
    table = Table(["sleeping sessions", "resident MB", "proportional MB", "/health p50 ms", "p99 ms"])
    for name, rests in found.items():
        cells = [median([rest[what] for rest in rests]) for what in ("rss", "pss", "p50", "p99")]
        table.rows.append([name, *map(figure, cells)])
    section.tables.append(table)
    none, lots = found.values()
    section.bars += [
        Bar("daemon idle: at most 60 MB resident", median([rest["rss"] for rest in none]), 60, unit=" MB"),
        Bar(
            "idle memory with 10,000 sleeping sessions against none: at most 1.1 times",
            _against(lots, none, "rss"),
            1.1,
        ),
        Bar(
            "/health p50 with 10,000 sleeping sessions against none: at most 1.25 times",
            _against(lots, none, "p50"),
            1.25,
        ),
    ]
    section.data["idle"] = found


def _rest(home: Path, log: Path, settings: Settings) -> dict[str, float]:
    port = free_port()
    with running(_roost(home, port), env=environment(HOME=str(home)), log=log) as process:
        wait_for(port)
        time.sleep(settings.pick(4, 0))
        rss, pss = memory_mb(process.pid)
        times = asyncio.run(_health(port, settings.pick(500, 20)))
    return {"rss": rss, "pss": pss, "p50": percentile(times, 50), "p99": percentile(times, 99)}


async def _health(port: int, count: int) -> list[float]:
    connection, times = Connection(port), []
    for _ in range(count):
        began = time.perf_counter()
        status, _ = await connection.request("GET", "/health")
        times.append((time.perf_counter() - began) * 1e3)
        assert status == 200, status
    connection.close()
    return times[count // 10 :]


def _commands(section: Section, settings: Settings) -> None:
    inside = "import time; w, c = time.perf_counter(), time.process_time(); import {}; " + (
        "print(time.perf_counter() - w, time.process_time() - c)"
    )
    table = Table(["", "p50 wall ms", "p50 CPU ms"])
    imports = {"import roost": "roost", "import roost.runtime": "roost.runtime"}
    for name, module in imports.items():
        runs = [_output([sys.executable, "-c", inside.format(module)]).split() for _ in range(settings.pick(9, 1))]
        wall, cpu = (median([float(run[place]) * 1e3 for run in runs]) for place in (0, 1))
        table.rows.append([name, figure(wall), figure(cpu)])
        section.data[name] = {"wall_ms": wall, "cpu_ms": cpu}
        if name == "import roost":
            section.bars.append(Bar("import roost: at most 150 ms", wall, 150, unit=" ms"))
    for name, command in {
        "python -c pass": [sys.executable, "-c", "pass"],
        "roost --help": [_script(), "--help"],
    }.items():
        wall, cpu = zip(*(_timed(command) for _ in range(settings.pick(9, 1))), strict=True)
        table.rows.append([name, figure(median(wall)), figure(median(cpu))])
        section.data[name] = {"wall_ms": median(wall), "cpu_ms": median(cpu)}
    section.tables.append(table)


def _timed(command: Sequence[str]) -> tuple[float, float]:
    began, before = time.perf_counter(), os.times()
    _output(command)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return (time.perf_counter() - began) * 1e3, cpu * 1e3


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment(), cwd=ROOT).stdout


def _against(these: list[dict[str, float]], those: list[dict[str, float]], what: str) -> float:
    return median([a[what] / b[what] for a, b in zip(these, those, strict=True)])


def _script() -> str:
    return str(Path(sys.executable).with_name("roost"))


def _roost(home: Path, port: int) -> list[str]:
    return [_script(), "--home", str(home), "up", "--port", str(port)]


def _termo(home: Path, port: int) -> list[str]:
    return [peers.python() or "", "-m", "bench.servers.termo", "canned", str(port)]


def _agentd(home: Path, port: int) -> list[str]:
    return [str(Path(peers.python() or "").with_name("agentd")), "start", "--host", "127.0.0.1", "--port", str(port)]
