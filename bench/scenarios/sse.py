"""Many readers of one session."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.contest import Contestant, contest
from bench.numbers import figure, median
from bench.proc import cpu_seconds, environment, running
from bench.report import Section, Table
from bench.settings import Settings
from bench.wire import Connection, free_port, wait_for

ABOUT = """\
All readers follow one session's stream while it runs a turn: once of 99 steps with a tool (events of up to 1 KB, \
each on disk before it is sent), once one long answer in 1,000 pieces (deltas of 5 characters). Counted until the last \
reader has the turn's end. The readers are one process of their own, which takes CPU from the same machine."""


def run(settings: Settings) -> Section:
    section = Section("Streaming to many readers", ABOUT)
    readers, port = settings.pick(100, 3), free_port()
    played: dict[str, list[dict[str, Any]]] = {"strider": [], "talker": []}
    with tempfile.TemporaryDirectory(prefix="roost-bench-") as folder:
        command = [sys.executable, "-m", "bench.servers.roost_daemon", folder, str(port)]
        with (
            running(command, env=environment(HOME=folder), log=Path(folder) / "log") as server,
            contest([Contestant("readers", "bench.workers.readers")]) as (ready, _),
        ):
            wait_for(port)
            for number in range(settings.pick(3, 1)):
                for agent, answers in played.items():
                    session = asyncio.run(_session(port, agent))
                    cpu = cpu_seconds(server.pid)
                    answer = ready[0].play(port=port, session=session, after=0, readers=readers)
                    if "error" in answer:
                        raise RuntimeError(answer["error"])
                    answers.append(answer | {"server_cpu": cpu_seconds(server.pid) - cpu})
                    print(
                        f"  round {number + 1}  {agent}: {answer['frames']} frames, {answer['wall']:.2f} s", flush=True
                    )
    table = Table([f"{readers} readers of", "delivered a second", "MB/s", "server CPU µs a delivery", "deliveries"])
    for agent, name in (("strider", "events"), ("talker", "deltas")):
        answers = played[agent]
        rates = [figure(median([answer[what] / answer["wall"] for answer in answers])) for what in ("frames",)]
        rates.append(figure(median([answer["bytes"] / answer["wall"] / 1e6 for answer in answers])))
        cpu = median([answer["server_cpu"] / answer["frames"] * 1e6 for answer in answers])
        table.rows.append([name, *rates, figure(cpu), figure(median([answer["frames"] for answer in answers]))])
    section.tables.append(table)
    section.data = dict(played)
    return section


async def _session(port: int, agent: str) -> str:
    connection = Connection(port, token="bench")
    session = (await connection.json("POST", "/sessions", {"agent": agent}))["id"]
    connection.close()
    return str(session)
