"""What a node needs for its sessions, in memory and in connections: `python -m bench.scale.memory`."""

from __future__ import annotations

import asyncio
import gc
import tempfile
from pathlib import Path

import asyncpg
from tests.harness.postgres.server import PostgresServer

from roost.agent.definition import Agent
from roost.kernel.config import KernelConfig
from roost.runtime import Runtime
from roost.testing.scripted import Answer, ScriptedModel

_SESSIONS = 2000
_AT_ONCE = 50
_PAST = "He asked for the train tickets, and she said where they were. " * 16
"""1 KB."""


async def measure(server: PostgresServer, home: Path) -> None:
    url = await server.database()
    waits = False

    def answer(_: object) -> Answer:
        return Answer(text=_PAST, delay=600.0 if waits else 0.0)

    agent = Agent("clerk", model=ScriptedModel(answer, keep=0))
    async with Runtime(home, agents=[agent], store=url, config=KernelConfig(linger=0.2)) as runtime:
        empty = resident()
        print(f"empty: {empty / 2**20:.0f} MB, {await connections(server, url)} connections")
        ids = [(await runtime.session("clerk")).id for _ in range(_SESSIONS)]
        for _ in range(5):
            for start in range(0, _SESSIONS, _AT_ONCE):
                some = ids[start : start + _AT_ONCE]
                await asyncio.gather(*(runtime.open(session).ask(_PAST) for session in some))
        await asyncio.sleep(2)
        assert not runtime.node.slots.live
        gc.collect()
        asleep = resident()
        print(f"{_SESSIONS} asleep: {asleep / 2**20:.0f} MB, {(asleep - empty) / _SESSIONS / 1024:.1f} KB each")
        waits = True
        for session in ids:
            await runtime.sessions.send(session, _PAST)
        await asyncio.sleep(5)
        live = resident()
        print(
            f"{len(runtime.node.slots.live)} live, each with 11 messages of 1 KB: {live / 2**20:.0f} MB,"
            f" {(live - asleep) / _SESSIONS / 1024:.1f} KB each, {await connections(server, url)} connections"
        )


def resident() -> int:
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


async def connections(server: PostgresServer, url: str) -> int:
    link = await asyncpg.connect(server.url())
    try:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1"
        return int(await link.fetchval(query, url.rpartition("/")[2]) or 0)
    finally:
        await link.close()


def main() -> None:
    with PostgresServer() as server, tempfile.TemporaryDirectory(prefix="roost-bench-") as home:
        asyncio.run(measure(server, Path(home)))


if __name__ == "__main__":
    main()
