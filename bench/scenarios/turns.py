"""A turn over HTTP around an instant model."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import peers
from bench.numbers import figure, median, percentile
from bench.payload import PROMPT
from bench.proc import cpu_seconds, environment, running
from bench.report import Bar, Section, Table
from bench.settings import Settings
from bench.wire import Connection, free_port, wait_for

ABOUT = """\
A client posts a message and reads the streamed turn to its end: one tool call, then the answer; the model answers at \
once inside the server, so that what is left is the runtime. Each client has its own connection and session. Roost has \
every step on disk before the next one; termo-agent writes its session once, without a sync, after the turn, and with \
the canned adapter nothing at all. agentd has no turn and calls no model: what comes nearest is its checkpoint POST, \
which copies the session's row. CPU is the server's, user and system."""

Turn = Callable[[Connection, int], Awaitable[None]]


@dataclass
class Server:
    name: str
    command: Callable[[Path, int], list[str]]
    prepare: Callable[[Connection, int], Awaitable[Turn]]
    needs: str | None = None
    token: str | None = None
    fixed_port: int | None = None
    pid: int = 0
    port: int = 0
    played: dict[int, list[dict[str, Any]]] = field(default_factory=dict)


def run(settings: Settings) -> Section:
    section = Section("A turn over HTTP", ABOUT)
    chosen = [one for one in _servers() if settings.peers or one.needs is None]
    with contextlib.ExitStack() as stack:
        ready = [one for one in chosen if _start(one, stack, section)]
        for clients, turns in ((1, settings.pick(150, 5)), (8, settings.pick(60, 2))):
            for number in range(settings.pick(3, 1)):
                for one in ready:
                    answer = asyncio.run(_round(one, clients, turns))
                    one.played.setdefault(clients, []).append(answer)
                    print(f"  round {number + 1}  {clients} clients  {one.name}: {answer['wall']:.2f} s", flush=True)
    _report(section, ready)
    return section


def _servers() -> list[Server]:
    def roost(home: Path, port: int) -> list[str]:
        return [sys.executable, "-m", "bench.servers.roost_daemon", str(home), str(port)]

    def termo(kind: str) -> Callable[[Path, int], list[str]]:
        return lambda home, port: [peers.python() or "", "-m", "bench.servers.termo", kind, str(port)]

    def agentd(home: Path, port: int) -> list[str]:
        return [
            str(Path(peers.python() or "").with_name("agentd")),
            "start",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]

    return [
        Server("Roost", roost, _roost, token="bench"),
        Server("termo-agent, canned adapter", termo("canned"), _termo, "termo_agent"),
        Server("termo-agent, OpenAI Agents adapter", termo("agents"), _termo, "termo_agent"),
        Server("agentd, a checkpoint (no turn)", agentd, _agentd, "agent_runtime"),
    ]


def _start(one: Server, stack: contextlib.ExitStack, section: Section) -> bool:
    if one.needs is not None and not peers.has(one.needs):
        section.notes.append(f"{one.name}: not installed")
        return False
    home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="roost-bench-")))
    one.port = free_port()
    env = environment(HOME=str(home), AGENT_DATA_DIR=str(home))
    log = home.with_name(home.name + ".log")
    stack.callback(log.unlink, missing_ok=True)
    one.pid = stack.enter_context(running(one.command(home, one.port), env=env, log=log)).pid
    try:
        wait_for(one.port)
    except TimeoutError:
        section.notes.append(f"{one.name}: does not start: {log.read_text()[-300:]!r}")
        return False
    return True


async def _round(one: Server, clients: int, turns: int) -> dict[str, Any]:
    connections = [Connection(one.port, token=one.token) for _ in range(clients)]
    play = [await one.prepare(connection, place) for place, connection in enumerate(connections)]
    times: list[float] = []

    async def client(connection: Connection, turn: Turn) -> None:
        for number in range(turns):
            began = time.perf_counter()
            await turn(connection, number)
            times.append((time.perf_counter() - began) * 1e3)

    await asyncio.gather(*(turn(connection, -1) for connection, turn in zip(connections, play, strict=True)))
    cpu, wall = cpu_seconds(one.pid), time.perf_counter()
    await asyncio.gather(*(client(connection, turn) for connection, turn in zip(connections, play, strict=True)))
    wall, cpu = time.perf_counter() - wall, cpu_seconds(one.pid) - cpu
    for connection in connections:
        connection.close()
    return {"wall": wall, "cpu_ms": cpu * 1e3 / len(times), "ms": times, "turns": len(times)}


async def _roost(connection: Connection, place: int) -> Turn:
    session = (await connection.json("POST", "/sessions", {"agent": "worker"}))["id"]

    async def turn(connection: Connection, number: int) -> None:
        path = f"/sessions/{session}/messages"
        status, body = await connection.request("POST", path, {"text": PROMPT}, stream=True)
        assert status == 200, body
        assert b'"outcome":"answered"' in body, body[-500:]

    return turn


async def _termo(connection: Connection, place: int) -> Turn:
    key = f"bench:{place}:{time.monotonic_ns()}"

    async def turn(connection: Connection, number: int) -> None:
        order = {"message": PROMPT, "session_key": key, "stream": True}
        status, body = await connection.request("POST", "/api/send", order, stream=True)
        assert status == 200, body
        assert b'"done"' in body, body[-500:]

    return turn


async def _agentd(connection: Connection, place: int) -> Turn:
    session = (await connection.json("POST", "/sessions", {"name": "bench", "model": "none"}))["session_id"]

    async def turn(connection: Connection, number: int) -> None:
        status, body = await connection.request("POST", f"/sessions/{session}/checkpoints?label=bench")
        assert status == 201, (status, body[-500:])

    return turn


def _report(section: Section, ready: list[Server]) -> None:
    for clients in (1, 8):
        table = Table([f"{clients} client{'s' * (clients > 1)}", "p50 ms", "p99 ms", "turns/s", "server CPU ms a turn"])
        for one in ready:
            answers = one.played[clients]
            times = [value for answer in answers for value in answer["ms"]]
            rate = median([answer["turns"] / answer["wall"] for answer in answers])
            cpu = median([answer["cpu_ms"] for answer in answers])
            table.rows.append([one.name, *map(figure, (median(times), percentile(times, 99), rate, cpu))])
            section.data[f"{one.name}, {clients} clients"] = answers
        section.tables.append(table)
    for one in ready:
        if one.name == "Roost":
            alone, many = (median([answer["cpu_ms"] for answer in one.played[clients]]) for clients in (1, 8))
            p99 = percentile([value for answer in one.played[8] for value in answer["ms"]], 99)
            section.bars += [
                Bar(
                    "server CPU of a durable turn with one tool over HTTP, 1 client: at most 3 ms", alone, 3, unit=" ms"
                ),
                Bar("the same with 8 clients, who share commits: at most 3 ms", many, 3, unit=" ms"),
                Bar("p99 of an instant-model turn at 8 concurrent clients: at most 60 ms", p99, 60, unit=" ms"),
            ]
